/* SPDX-License-Identifier: Apache-2.0 */
/* DSR and ENCAP: the packet goes to its flow's backend with the VIP still in it, and the backend answers the client directly. A service
 * that no change has put at risk costs its hash and one slot of its ring: no table is read. */
#ifndef L4LB_DIRECT_H
#define L4LB_DIRECT_H

/* DSR: other MACs, and one hop less, so that a packet in a loop of load balancers ends */
static __always_inline bool rewrite_macs(struct xdp_md *ctx, const struct scratch *s, const struct backend *b)
{
	struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));

	if (!frame)
		return false;
	copy_mac(frame->destination, b->destination_mac);
	copy_mac(frame->source, b->source_mac);
	if (s->family == 4) {
		struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

		if (!ip)
			return false;
		ip->ttl--;
		ip->checksum = updated_checksum(ip->checksum, TTL_DELTA);
	} else {
		struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

		if (!ip)
			return false;
		ip->hop_limit--;
	}
	return true;
}

/* Why the packet cannot leave for the backend, 0 when it can; *mtu is the way's, outer headers taken off */
static __always_inline __u32 no_way(struct scratch *s, const struct backend *b, __u16 *mtu)
{
	*mtu = b->mtu && service_mode(s->word) != MODE_DSR ? b->mtu - outer_bytes(service_mode(s->word), b) : b->mtu;
	return b->flags & BACKEND_HERE ? 0 : obstacle(s, b->ifindex, *mtu);
}

/* Sends a packet that can leave to the backend `id` as the service's mode says; `reason` is how it ends then */
static __always_inline __u32 hand_over(struct xdp_md *ctx, struct scratch *s, const struct config *c, const struct backend *b, __u16 id,
				       __u32 hash, __u32 reason)
{
	bool created = reason == REASON_FLOW_CREATED, here = b->flags & BACKEND_HERE, dsr = service_mode(s->word) == MODE_DSR;

	s->backend = id;
	if (!here && !(dsr ? rewrite_macs(ctx, s, b) : encapsulate(ctx, s, c, b, hash)))
		return DROP(REASON_NO_HEADROOM);
	count_in(s, s->service, id, created);
	return here ? PASS(reason) : OUTCOME(reason, transmit(ctx, s, c, out_to(b)));
}

/* Sends a client's packet to the backend `id` */
static __always_inline __u32 deliver(struct xdp_md *ctx, struct scratch *s, const struct config *c, const struct backend *b, __u16 id,
				     __u32 hash)
{
	bool created = s->tuple.protocol == PROTOCOL_TCP && is_syn(s);
	__u16 mtu;
	__u32 why = no_way(s, b, &mtu);

	s->backend = id;
	if (why)
		return stopped(ctx, s, why);
	if (created && !(b->flags & BACKEND_HERE))
		clamp_mss(ctx, s, s->service, mtu);
	return hand_over(ctx, s, c, b, id, hash, created ? REASON_FLOW_CREATED : REASON_TO_BACKEND);
}

/* A client's packet for a DSR or ENCAP service */
static __always_inline __u32 direct(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u64 hash = tuple_hash(&s->tuple, c->slot_secret);
	__u32 pick = slot_pick(s->word, &s->tuple, hash, c->slot_secret);
	__u16 slot = now_slot(s->word, pick), id = slot & SLOT_BACKEND;
	bool tracked = s->word & SERVICE_TRACK_ALL || (slot & SLOT_AT_RISK && s->tuple.protocol == PROTOCOL_TCP);
	const struct backend *b;
	__u32 why = client_fault(s, c);

	if (why)
		return refuse(s, why);
	s->refused = 0;
	if (s->word & SERVICE_LIMITED && s->tuple.protocol == PROTOCOL_TCP && is_syn(s))
		admit(s, c);
	if (tracked && !s->refused) {
		s->answer = ANSWER_RST; /* unless an entry says otherwise */
		id = tracked_backend(s, c, hash, pick, id);
	}
	if (s->refused)
		return DROP(s->refused);
	b = backend_get(id);
	if (!id || !b)
		return no_backend(ctx, s, refuse(s, REASON_NO_BACKEND));
	if (b->flags & BACKEND_KEEP)
		return deliver(ctx, s, c, b, id, hash);
	if (b->flags & BACKEND_RESET && s->tuple.protocol == PROTOCOL_TCP && !is_syn(s))
		return reject(ctx, s, tracked ? s->answer : ANSWER_RST);
	return no_backend(ctx, s, refuse(s, REASON_NO_BACKEND));
}

#endif
