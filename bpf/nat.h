/* SPDX-License-Identifier: Apache-2.0 */
/* Translation of a known flow's packet, in both directions, with every checksum updated by what the addresses and ports change it. */
#ifndef L4LB_NAT_H
#define L4LB_NAT_H

#define TTL_DELTA ((__u16)~htons(0x0100)) /* minus one in the upper byte of the word that TTL and protocol share */

/* What a packet becomes, beside the addresses and ports of a tuple */
struct translation {
	const struct tuple *to;
	const __u8 *source_mac;
	const __u8 *destination_mac;
	__u16 checksum_delta; /* added to the transport checksum: addresses and ports */
	__u16 header_delta;   /* added to the IPv4 header checksum: addresses only */
};

/* The translation from one tuple to another */
static __always_inline void sum_translation(struct translation *t, const struct tuple *from, const struct tuple *to)
{
	__u64 old = address_sum(&from->source) + address_sum(&from->destination);
	__u64 new = address_sum(&to->source) + address_sum(&to->destination);

	t->to = to;
	t->header_delta = checksum_delta(old, new);
	t->checksum_delta = checksum_delta(old + from->source_port + from->destination_port, new + to->source_port + to->destination_port);
}

static __always_inline bool translate_ports(struct xdp_md *ctx, __u8 protocol, __u32 offset, const struct translation *t)
{
	if (protocol == PROTOCOL_TCP) {
		struct tcp *tcp = bytes_at(ctx, offset, TCP_BYTES);

		if (!tcp)
			return false;
		tcp->source = t->to->source_port;
		tcp->destination = t->to->destination_port;
		tcp->checksum = updated_checksum(tcp->checksum, t->checksum_delta);
	} else {
		struct udp *udp = bytes_at(ctx, offset, UDP_BYTES);

		if (!udp)
			return false;
		udp->source = t->to->source_port;
		udp->destination = t->to->destination_port;
		if (udp->checksum) { /* 0 = none (RFC 768), only in IPv4; a computed 0 is sent as 0xffff */
			__u16 checksum = updated_checksum(udp->checksum, t->checksum_delta);

			udp->checksum = checksum ? checksum : 0xffff;
		}
	}
	return true;
}

static __always_inline bool translate_ipv4(struct xdp_md *ctx, const struct translation *t)
{
	struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	if (!ip)
		return false;
	ip->ttl--;
	ip->checksum = updated_checksum(ip->checksum, (__u32)t->header_delta + TTL_DELTA);
	ip->source = t->to->source.word[3];
	ip->destination = t->to->destination.word[3];
	return true;
}

static __always_inline bool translate_ipv6(struct xdp_md *ctx, const struct translation *t)
{
	struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	if (!ip)
		return false;
	ip->hop_limit--;
	copy_address((struct address *)ip->source, &t->to->source);
	copy_address((struct address *)ip->destination, &t->to->destination);
	return true;
}

/* Gives a fragment of an IPv4 datagram the identification that the table of fragments has for it */
static __always_inline bool rename_datagram(struct xdp_md *ctx, const struct scratch *s)
{
	struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	if (s->family != 4)
		return true;
	if (!ip)
		return false;
	ip->checksum = updated_checksum(ip->checksum, checksum_delta(ip->identification, htons(s->piece.renamed)));
	ip->identification = htons(s->piece.renamed);
	return true;
}

/* Rewrites MACs, addresses, ports, TTL and checksums. Expects a packet that read_packet() accepted. */
static __always_inline bool translate(struct xdp_md *ctx, const struct scratch *s, const struct translation *t)
{
	struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));

	if (!frame)
		return false;
	copy_mac(frame->destination, t->destination_mac);
	copy_mac(frame->source, t->source_mac);
	if (!(s->family == 4 ? translate_ipv4(ctx, t) : translate_ipv6(ctx, t)) || (s->part != PART_WHOLE && !rename_datagram(ctx, s)))
		return false;
	return s->part == PART_LATER || translate_ports(ctx, s->tuple.protocol, s->transport & TRANSPORT_MASK, t);
}

/* Why a packet cannot leave by a way, 0 when it can. `mtu` is the way's for this packet, outer headers taken off; 0 = not checked */
static __always_inline __u32 obstacle(struct scratch *s, __u32 ifindex, __u16 mtu)
{
	if (!ifindex)
		return REASON_BACKEND_UNRESOLVED;
	if (s->ttl <= 1)
		return REASON_TTL_EXCEEDED;
	if (!mtu || s->l3_bytes <= mtu)
		return 0;
	s->mtu = mtu;
	return REASON_MTU_EXCEEDED;
}

/* A client's packet that is sent to a backend; `created`: a flow's first */
static __always_inline void count_in(const struct scratch *s, __u32 service, __u32 backend, bool created)
{
	struct traffic *t = service_traffic(service);
	struct backend_in *b = backend_in_get(backend);

	if (!t || !b)
		return;
	t->packets_in++;
	t->bytes_in += s->received_bytes;
	t->flows += created;
	b->packets++;
	b->bytes += s->received_bytes;
	b->flows += created;
}

/* A backend's packet that is sent to a client */
static __always_inline void count_out(const struct scratch *s, __u32 service, __u32 backend)
{
	struct traffic *t = service_traffic(service);
	struct count *b = backend_out_get(backend);

	if (!t || !b)
		return;
	t->packets_out++;
	t->bytes_out += s->received_bytes;
	b->packets++;
	b->bytes += s->received_bytes;
}

/* Sends a client's packet along its flow; returns the outcome. `reason` is REASON_FLOW_CREATED with the flow's first packet. */
static __always_inline __u32 send_to_backend(struct xdp_md *ctx, struct scratch *s, const struct config *c, struct flow *f,
					     const struct backend *backend, __u32 reason)
{
	__u32 why = obstacle(s, backend->ifindex, backend->mtu);
	struct translation t = {
		.source_mac = backend->source_mac,
		.destination_mac = backend->destination_mac,
	};

	s->backend = f->backend;
	if (why)
		return stopped(ctx, s, why);
	if (s->part != PART_LATER) {
		if (s->tuple.protocol == PROTOCOL_TCP && !tcp_from_client(s, c, f))
			return DROP(REASON_NO_FLOW);
		flow_touch(s, f);
	}
	sum_translation(&t, &s->tuple, &s->becomes);
	if (!translate(ctx, s, &t))
		return DROP(REASON_MALFORMED);
	if (!still(s, f))
		return DROP(REASON_NO_FLOW);
	count_in(s, f->service, f->backend, reason == REASON_FLOW_CREATED);
	return OUTCOME(reason, transmit(ctx, s, c, out_to(backend)));
}

/* Sends a backend's packet to the flow's client; returns the outcome. */
static __always_inline __u32 send_to_client(struct xdp_md *ctx, struct scratch *s, const struct config *c, struct flow *f)
{
	struct translation t = {
		.source_mac = f->source_mac,
		.destination_mac = f->destination_mac,
	};
	__u32 why;

	renew_way_back(ctx, s, c, f);
	why = obstacle(s, f->ifindex, f->mtu);
	if (why)
		return stopped(ctx, s, why);
	if (s->part != PART_LATER) {
		if (!(s->tuple.protocol == PROTOCOL_UDP ? udp_from_backend(s, c, f) : tcp_from_backend(s, f)))
			return DROP(REASON_NO_FLOW);
		flow_touch(s, f);
	}
	sum_translation(&t, &s->tuple, &s->becomes);
	if (!translate(ctx, s, &t))
		return DROP(REASON_MALFORMED);
	if (!still(s, f))
		return DROP(REASON_NO_FLOW);
	count_out(s, f->service, f->backend);
	return OUTCOME(REASON_TO_CLIENT, transmit(ctx, s, c, f->ifindex));
}

#endif
