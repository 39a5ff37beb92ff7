/* SPDX-License-Identifier: Apache-2.0 */
/* The road of a packet through the hot program: whose it is, which flow it follows, what is done with it. */
#ifndef L4LB_BALANCE_H
#define L4LB_BALANCE_H

/* A client's packet for a NAT service */
static __always_inline __u32 nat(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	bool tcp = s->tuple.protocol == PROTOCOL_TCP;
	const struct backend *backend;
	struct flow *f;

	s->now = second(c);
	if (tcp && is_syn(s))
		return start_flow(ctx, s);
	f = flow_find(s, c);
	backend = f ? backend_get(f->backend) : NULL;
	if (f && backend && backend->flags & BACKEND_KEEP)
		return send_to_backend(ctx, s, c, f, backend, REASON_TO_BACKEND);
	if (!tcp)
		return start_flow(ctx, s);
	if (!f || !backend || !(backend->flags & BACKEND_RESET))
		return reject(ctx, s, ANSWER_RST);
	flow_close(f, s->flow_word);
	return reject(ctx, s, ANSWER_DRAIN_RST);
}

/* A client's packet for a service */
static __always_inline __u32 to_backend(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	if (s->word & SERVICE_LISTED && barred(s, s->service, &s->tuple.source))
		return DROP(s->refused);
	return service_mode(s->word) <= MODE_KEEP ? nat(ctx, s, c) : direct(ctx, s, c);
}

/* A backend's packet of a known flow */
static __always_inline __u32 to_client(struct xdp_md *ctx, struct scratch *s, const struct config *c, struct flow *f)
{
	const struct backend *backend = backend_get(f->backend);

	s->service = f->service;
	s->backend = f->backend;
	if (backend && backend->flags & BACKEND_LISTED && barred(s, s->service, &s->becomes.destination))
		return DROP(s->refused);
	if (backend && backend->flags & BACKEND_KEEP) {
		__u32 outcome = send_to_client(ctx, s, c, f);

		if (has_syn(s))
			clamp_mss(ctx, s, s->service, backend->mtu);
		return outcome;
	}
	if (!backend || !(backend->flags & BACKEND_RESET) || s->tuple.protocol != PROTOCOL_TCP)
		return DROP(REASON_FLOW_CUT);
	flow_close(f, s->flow_word);
	return reject(ctx, s, ANSWER_DRAIN_RST);
}

/* A packet that is for no service: it may be a backend's */
static __always_inline __u32 for_snat(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	struct flow *f;

	if (s->owned_flags & (ADDRESS_SNAT | ADDRESS_FOREIGN)) {
		s->now = second(c);
		f = reply_find(s, c);
		if (f)
			return to_client(ctx, s, c, f);
	}
	if (s->owned_flags & ADDRESS_FOREIGN)
		return PASS(REASON_NOT_A_REPLY);
	return refuse(s, s->owned_flags & ADDRESS_VIP ? REASON_NO_SERVICE : REASON_NO_FLOW);
}

/* An IP packet for `owned`, NULL for a foreign address; `address` is the destination's address_hash() */
static __always_inline __u32 balance(struct xdp_md *ctx, struct scratch *s, const struct config *c, const struct owned_address *owned,
				     __u64 address)
{
	__u32 why = for_us(ctx) ? read_packet(ctx, s) : REASON_FRAME_FOREIGN;

	if (why == TO_ICMP) {
		tail_call(ctx, TAIL_ICMP);
		return DROP(REASON_TAIL_CALL_FAILED);
	}
	if (why == TO_ODD) {
		tail_call(ctx, TAIL_ODD);
		return DROP(REASON_TAIL_CALL_FAILED);
	}
	if (why)
		return refuse(s, why);
	if (owned && s->owned_flags & ADDRESS_VIP && service_find(s, c, owned, address))
		return to_backend(ctx, s, c);
	return for_snat(ctx, s, c);
}

/* What a frame is before anybody knows whether it is for us */
enum frame {
	FRAME_OTHER,
	FRAME_PACKET,       /* IPv4 or IPv6 */
	FRAME_ARP,          /* a request */
	FRAME_SOLICITATION, /* of a neighbour */
};

/* Sets the tuple's destination, and for packets its source and the family */
static __always_inline enum frame classify(struct xdp_md *ctx, struct scratch *s)
{
	const struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));

	if (!frame)
		return FRAME_OTHER;
	if (frame->type == htons(ETHERTYPE_IPV4))
		return read_ipv4_addresses(ctx, s) ? FRAME_PACKET : FRAME_OTHER;
	if (frame->type == htons(ETHERTYPE_ARP))
		return arp_request(ctx, s) ? FRAME_ARP : FRAME_OTHER;
	if (frame->type != htons(ETHERTYPE_IPV6) || !read_ipv6_addresses(ctx, s))
		return FRAME_OTHER;
	return solicitation(ctx, s) ? FRAME_SOLICITATION : FRAME_PACKET;
}

static __always_inline __u32 road(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u32 why = is_tagged(ctx) ? take_tags(ctx, s, c) : 0;
	const struct owned_address *owned;
	enum frame frame;
	__u64 address;

	if (why)
		return PASS(why);
	frame = classify(ctx, s);
	if (frame == FRAME_OTHER)
		return PASS(REASON_NOT_IP);
	address = address_hash(&s->tuple.destination, c->index_secret);
	owned = owned_find(c, address, &s->tuple.destination);
	/* An IPv6 header may spell an IPv4 address of ours; on a wire that is nobody's (RFC 5156 2.2) */
	if (s->family == 6 && is_mapped(&s->tuple.destination))
		owned = NULL;
	if (!owned && (frame != FRAME_PACKET || !may_be_kept(ctx, s, c)))
		return PASS(frame == FRAME_ARP ? REASON_NOT_IP : REASON_FOREIGN);
	s->owned_flags = owned ? owned->flags : ADDRESS_FOREIGN;
	if (frame == FRAME_PACKET)
		return balance(ctx, s, c, owned, address);
	if (s->owned_flags & ADDRESS_LOCAL)
		return PASS(REASON_LOCAL);
	s->answer = frame == FRAME_ARP ? ANSWER_ARP : ANSWER_NEIGHBOUR;
	tail_call(ctx, TAIL_ANSWER);
	return DROP(REASON_TAIL_CALL_FAILED);
}

#endif
