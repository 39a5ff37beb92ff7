/* SPDX-License-Identifier: Apache-2.0 */
/* The program that puts on the tags of a frame which are not a single one of 802.1Q: those of a VLAN device on another, of 802.1ad, or with
 * which the frame came. */
#ifndef L4LB_TAGS_H
#define L4LB_TAGS_H

/* A tag as vlans[] numbers it */
static __always_inline __u32 tag_of(__u16 number)
{
	return TAG_PRESENT | (number & TAG_VLAN) | (number & VLAN_SERVICE ? TAG_SERVICE : 0);
}

/* As with_tag(), of which it is the rest. The way out over a VLAN device is looked up when the packet leaves: a flow remembers no more of
 * it than the device. */
static __always_inline __u32 with_tags(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u32 outcome = s->outcome, inner = s->inner_in, tag = tag_for(s, outcome);
	bool dropped = (outcome & (VERDICTS - 1)) == XDP_DROP;

	if (tag & TAG_DEVICE) {
		const struct vlan *v = vlan_find(s, tag & OUT_INTERFACE, VLAN_DEVICE);

		if (!v)
			return DROP(REASON_BACKEND_UNRESOLVED);
		tag = tag_of(v->tag);
		inner = v->inner ? tag_of(v->inner) : 0;
		outcome = OUTCOME(outcome / VERDICTS, send_over(ctx, c, v->other));
	}
	if ((!inner || push_tag(ctx, inner)) && push_tag(ctx, tag))
		return outcome;
	return dropped ? outcome : DROP(REASON_NO_HEADROOM);
}

#endif
