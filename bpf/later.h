/* SPDX-License-Identifier: Apache-2.0 */
/* The later tail: fragments behind the first of their datagram, which read_odd() has read. They go where that one went. */
#ifndef L4LB_LATER_H
#define L4LB_LATER_H

/* A later fragment for a service, along with its first one: it creates no flow and keeps none alive */
static __always_inline __u32 later_to_backend(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	const struct backend *b = backend_get(s->piece.backend);
	struct flow *f;

	if (s->recording && service_mode(s->word) <= MODE_KEEP)
		return refuse(s, REASON_IP_OPTIONS);
	if (s->word & SERVICE_LISTED && barred(s, s->service, &s->tuple.source))
		return DROP(s->refused);
	if (!b || !(b->flags & BACKEND_KEEP))
		return refuse(s, REASON_NO_BACKEND);
	if (service_mode(s->word) > MODE_KEEP) {
		if (s->word & SERVICE_OUTER_CHECKSUM)
			sum_packet(ctx, s);
		return deliver(ctx, s, c, b, s->piece.backend, tuple_hash(&s->tuple, c->slot_secret));
	}
	s->now = second(c);
	f = flow_find(s, c);
	if (!f || f->backend != s->piece.backend)
		return refuse(s, REASON_NO_FLOW);
	return send_to_backend(ctx, s, c, f, b, REASON_TO_BACKEND);
}

static __always_inline __u32 later_to_client(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	const struct backend *b = backend_get(s->piece.backend);
	struct flow *f;

	if (s->recording)
		return refuse(s, REASON_IP_OPTIONS);
	s->now = second(c);
	f = reply_find(s, c);
	if (!f || f->backend != s->piece.backend)
		return refuse(s, REASON_NO_FLOW);
	return b && b->flags & BACKEND_KEEP ? to_client(ctx, s, c, f) : DROP(REASON_FLOW_CUT);
}

static __always_inline __u32 later_packet(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u64 address = address_hash(&s->tuple.destination, c->index_secret);
	const struct owned_address *owned = s->owned_flags & ADDRESS_FOREIGN ? NULL : owned_find(c, address, &s->tuple.destination);
	__u32 why;

	name_piece(s, c);
	why = later_piece(s, c);
	if (why)
		return refuse(s, why);
	s->tcp_flags = 0;
	if (owned && s->owned_flags & ADDRESS_VIP && service_find(s, c, owned, address))
		return later_to_backend(ctx, s, c);
	return s->owned_flags & (ADDRESS_SNAT | ADDRESS_FOREIGN) ? later_to_client(ctx, s, c) : refuse(s, REASON_NO_SERVICE);
}

#endif
