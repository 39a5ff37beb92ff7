/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP errors about packets that a DSR or ENCAP backend has sent: they follow the flow that they quote, as they came, for the backend has
 * the VIP. They leave no entry and renew none. */
#ifndef L4LB_DIRECT_ERROR_H
#define L4LB_DIRECT_ERROR_H

#define QUOTED_ACKNOWLEDGEMENT_BYTES 12 /* of a TCP header, up to and with it */

/* What the backend has acknowledged, as the sequence of a client's packet; false when the quote does not reach so far, or it is UDP */
static __always_inline bool quoted_sequence(struct xdp_md *ctx, struct scratch *s, const struct quote *q)
{
	const struct tcp *tcp = quoted_bytes(ctx, q, QUOTED_ACKNOWLEDGEMENT_BYTES);

	if (s->tuple.protocol != PROTOCOL_TCP || !tcp)
		return false;
	s->sequence = ntohl(tcp->acknowledgement);
	return true;
}

/* Sets s->ways.near to the way of the tuple that would be missed most: one that has spoken long, then one that has just spoken */
static __always_inline void find_likeliest(struct scratch *s, const struct config *c, const struct flow_bucket *bucket, __u64 tag)
{
	struct ways *w = &s->ways;

	w->near = NO_WAY;
	w->worth = WORTH_FREE;
#pragma unroll
	for (int i = 0; i < WAYS; i++) {
		const struct flow_entry *e = &bucket->entry[i];
		const struct backend *b = backend_get((__u16)entry_word(e));

		if (entry_word(e) >> 16 != tag || !b || b->service != s->service || is_free(s, c, e) || entry_worth(s, e) >= w->worth)
			continue;
		w->worth = entry_worth(s, e);
		w->near = i;
	}
}

/* The backend of a quoted packet's flow, whose slot is at risk. Of several ways of its tuple the one whose client has sent what the quoted
 * packet acknowledges; a quote of eight bytes does not say so, and a packet leaves by one way only. */
static __always_inline __u16 quoted_tracked(struct xdp_md *ctx, struct scratch *s, const struct config *c, const struct quote *q,
					    __u64 hash, __u32 pick, __u16 now)
{
	struct flow_bucket *bucket = flow_bucket(c, hash);
	bool tcp = s->tuple.protocol == PROTOCOL_TCP;
	__u64 tag = flow_tag(hash, pick);

	if (!bucket)
		return now;
	if (!tcp || quoted_sequence(ctx, s, q))
		find_ways(s, c, bucket, tag, now);
	else
		find_likeliest(s, c, bucket, tag);
	if (s->ways.near != NO_WAY)
		return entry_word(&bucket->entry[s->ways.near & (WAYS - 1)]);
	return tcp ? before_backend(s->word, pick, now) : now;
}

/* An error for the VIP of a DSR or ENCAP service; the tuple is that of the client's packets. Expects s->now */
static __always_inline __u32 direct_error(struct xdp_md *ctx, struct scratch *s, const struct config *c, const struct quote *q)
{
	__u64 hash = tuple_hash(&s->tuple, c->slot_secret);
	__u32 pick = slot_pick(s->word, &s->tuple, hash, c->slot_secret);
	__u16 slot = now_slot(s->word, pick), id = slot & SLOT_BACKEND;
	const struct backend *b;
	__u16 mtu;
	__u32 why;

	if (s->word & SERVICE_LISTED && barred(s, s->service, &s->tuple.source))
		return DROP(s->refused);
	if (s->word & SERVICE_TRACK_ALL || (slot & SLOT_AT_RISK && s->tuple.protocol == PROTOCOL_TCP))
		id = quoted_tracked(ctx, s, c, q, hash, pick, id);
	b = backend_get(id);
	if (!id || !b || !(b->flags & BACKEND_KEEP))
		return refuse(s, REASON_ICMP_NO_FLOW);
	s->backend = id;
	why = no_way(s, b, &mtu);
	if (why)
		return DROP(why); /* no error is answered by one */
	if (s->word & SERVICE_OUTER_CHECKSUM)
		sum_packet(ctx, s);
	return hand_over(ctx, s, c, b, id, hash, REASON_ICMP_TO_BACKEND);
}

#endif
