/* SPDX-License-Identifier: Apache-2.0 */
/* 802.1Q and 802.1ad. The program runs on the interface that carries the VLANs. A frame's tags, two at most, are taken off before the
 * packet is read, and those of its way out are put on when all is written (finish.h): what lies between knows of none. What passes gets
 * back the tags with which it came. One tag of 802.1Q is put on in place, all others by a program of their own. */
#ifndef L4LB_VLAN_H
#define L4LB_VLAN_H

#define MOST_TAGS 2
#define TAG_PRESENT 0x10000 /* above a tag's 16 bits: priority, drop eligibility, VLAN */
#define TAG_SERVICE 0x20000 /* of 802.1ad */
#define TAG_LOOK 0x40000    /* the program for tags has to see to it: of 802.1ad, or there is an inner one */
#define TAG_DEVICE 0x80000000 /* in the place of a tag: those of the VLAN device whose number is in the lower bits */
#define TAG_VLAN 0xfff      /* 0 = none: a priority tag */
#define TAGGED_BYTES (sizeof(struct ethernet) + TAG_BYTES)

/* Moves both MACs of a frame from one offset to another */
static __always_inline bool move_macs(struct xdp_md *ctx, __u32 from, __u32 to)
{
	word *macs = bytes_at(ctx, 0, TAGGED_BYTES);
	word a, b, c;

	if (!macs)
		return false;
	a = macs[from / 4];
	b = macs[from / 4 + 1];
	c = macs[from / 4 + 2];
	macs[to / 4] = a;
	macs[to / 4 + 1] = b;
	macs[to / 4 + 2] = c;
	return true;
}

static __always_inline bool push_tag(struct xdp_md *ctx, __u32 tag)
{
	struct tagged *frame;

	if (bpf_xdp_adjust_head(ctx, -TAG_BYTES) || !move_macs(ctx, TAG_BYTES, 0))
		return false;
	frame = bytes_at(ctx, 0, sizeof(*frame));
	if (!frame)
		return false;
	frame->type = tag & TAG_SERVICE ? htons(ETHERTYPE_SERVICE_VLAN) : htons(ETHERTYPE_VLAN);
	frame->tag = htons(tag);
	return true;
}

static __always_inline bool is_vlan(const struct vlan *v, __u32 ifindex, __u16 key)
{
	return v && v->ifindex == ifindex && v->key == key;
}

/* What the agent has written of a VLAN on the interface, or (VLAN_DEVICE) of the interface that is a VLAN. The place stands in the scratch:
 * there the verifier follows no values, and walks the loop once. */
static __always_inline const struct vlan *vlan_find(struct scratch *s, __u32 ifindex, __u16 key)
{
	const struct vlan *v;

	s->place = (ifindex * 65537 + key) * VLAN_MIX >> 16;
#pragma clang loop unroll(disable)
	for (int i = 0; i < VLAN_TRIES; i++) {
		v = vlan_get(s->place & (VLAN_PLACES - 1));
		if (!v || !v->ifindex || is_vlan(v, ifindex, key))
			break;
		s->place++;
	}
	v = vlan_get(s->place & (VLAN_PLACES - 1));
	return is_vlan(v, ifindex, key) ? v : NULL;
}

static __always_inline bool is_tag(__u16 type)
{
	return type == htons(ETHERTYPE_VLAN) || type == htons(ETHERTYPE_SERVICE_VLAN);
}

static __always_inline bool is_tagged(struct xdp_md *ctx)
{
	const struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));

	return frame && frame->type != htons(ETHERTYPE_IPV4) && is_tag(frame->type);
}

/* Takes the outermost tag off a frame of a VLAN that this host is in. Returns why the frame is none of ours, 0 when it may be */
static __always_inline __u32 take_tag(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	const struct tagged *frame = bytes_at(ctx, 0, sizeof(*frame));
	__u32 tag;

	if (!frame)
		return REASON_NOT_IP;
	tag = TAG_PRESENT | ntohs(frame->tag);
	if (frame->type != htons(ETHERTYPE_VLAN))
		tag |= TAG_SERVICE;
	if (tag & TAG_VLAN) {
		__u16 key = (tag & TAG_VLAN) | (tag & TAG_SERVICE ? VLAN_SERVICE : 0);
		const struct vlan *v = c->flags & CONFIG_VLANS ? vlan_find(s, s->device, key) : NULL;

		if (!v)
			return REASON_VLAN_FOREIGN;
		s->device = v->other;
	}
	if (!move_macs(ctx, 0, TAG_BYTES) || bpf_xdp_adjust_head(ctx, TAG_BYTES))
		return REASON_NOT_IP;
	s->frame_bytes -= TAG_BYTES;
	if (s->tag_in) {
		s->inner_in = tag;
		s->tag_in |= TAG_LOOK;
	} else {
		s->tag_in = tag & TAG_SERVICE ? tag | TAG_LOOK : tag;
	}
	return 0;
}

/* Takes off all tags, two at most. Returns as take_tag() */
static __always_inline __u32 take_tags(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	const struct tagged_thrice *frame = bytes_at(ctx, 0, sizeof(*frame));
	__u32 why = 0;

	if (frame && is_tag(frame->tag[1].type) && is_tag(frame->tag[2].type))
		return REASON_VLAN_STACKED;
	s->device = ctx->ingress_ifindex;
	s->inner_in = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MOST_TAGS && !why; i++) {
		asm volatile("" ::: "memory"); /* each round reads anew where the packet begins: pointers cannot be kept as numbers */
		if (!is_tagged(ctx))
			break;
		why = take_tag(ctx, s, c);
	}
	return why;
}

/* The way out over an interface; over one that is a VLAN it is that of its lower device, with the tag. By way of the scratch, so that the
 * verifier walks what follows once. */
static __always_inline __u32 out_over(struct scratch *s, const struct config *c, __u32 ifindex)
{
	s->out = ifindex;
	if (c->flags & CONFIG_VLANS) {
		const struct vlan *v = vlan_find(s, ifindex, VLAN_DEVICE);

		if (v)
			s->out = v->inner || v->tag & VLAN_SERVICE ? OUT(ifindex, OUT_DEVICE) : OUT(v->other, v->tag);
	}
	asm volatile("" ::: "memory");
	return s->out;
}

/* Back by the interface and the VLAN that the frame came from */
static __always_inline __u32 out_back(struct xdp_md *ctx, const struct scratch *s)
{
	if (!(s->tag_in & TAG_LOOK))
		return OUT(ctx->ingress_ifindex, s->tag_in & TAG_VLAN);
	return s->device == ctx->ingress_ifindex ? s->device : OUT(s->device, OUT_DEVICE);
}

#endif
