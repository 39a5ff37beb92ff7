/* SPDX-License-Identifier: Apache-2.0 */
/* Translation of a known flow's packet, in both directions, with every checksum updated by what the addresses and ports change it. */
#ifndef L4LB_NAT_H
#define L4LB_NAT_H

#define TTL_DELTA ((__u16)~htons(0x0100)) /* minus one in the upper byte of the word that TTL and protocol share */

/* What a packet becomes */
struct translation {
	const struct address *source;
	const struct address *destination;
	const __u8 *source_mac;
	const __u8 *destination_mac;
	__u16 source_port;
	__u16 destination_port;
	__u16 checksum_delta;
	__u16 header_delta;
};

static __always_inline bool translate_ports(struct xdp_md *ctx, __u8 protocol, __u32 offset, const struct translation *to)
{
	if (protocol == PROTOCOL_TCP) {
		struct tcp *tcp = bytes_at(ctx, offset, TCP_BYTES);

		if (!tcp)
			return false;
		tcp->source = to->source_port;
		tcp->destination = to->destination_port;
		tcp->checksum = updated_checksum(tcp->checksum, to->checksum_delta);
	} else {
		struct udp *udp = bytes_at(ctx, offset, UDP_BYTES);

		if (!udp)
			return false;
		udp->source = to->source_port;
		udp->destination = to->destination_port;
		if (udp->checksum) { /* 0 = none (RFC 768), only in IPv4; a computed 0 is sent as 0xffff */
			__u16 checksum = updated_checksum(udp->checksum, to->checksum_delta);

			udp->checksum = checksum ? checksum : 0xffff;
		}
	}
	return true;
}

static __always_inline bool translate_ipv4(struct xdp_md *ctx, const struct translation *to)
{
	struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	if (!ip)
		return false;
	ip->ttl--;
	ip->checksum = updated_checksum(ip->checksum, (__u32)to->header_delta + TTL_DELTA);
	ip->source = to->source->word[3];
	ip->destination = to->destination->word[3];
	return true;
}

static __always_inline bool translate_ipv6(struct xdp_md *ctx, const struct translation *to)
{
	struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	if (!ip)
		return false;
	ip->hop_limit--;
	copy_address((struct address *)ip->source, to->source);
	copy_address((struct address *)ip->destination, to->destination);
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
static __always_inline bool translate(struct xdp_md *ctx, const struct scratch *s, const struct translation *to)
{
	struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));

	if (!frame)
		return false;
	copy_mac(frame->destination, to->destination_mac);
	copy_mac(frame->source, to->source_mac);
	if (!(s->family == 4 ? translate_ipv4(ctx, to) : translate_ipv6(ctx, to)) || (s->part != PART_WHOLE && !rename_datagram(ctx, s)))
		return false;
	return s->part == PART_LATER || translate_ports(ctx, s->tuple.protocol, s->transport & TRANSPORT_MASK, to);
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

static __always_inline void count_in(const struct scratch *s, struct traffic *t, bool created)
{
	if (!t)
		return;
	t->packets_in++;
	t->bytes_in += s->received_bytes;
	t->flows += created;
}

static __always_inline void count_out(const struct scratch *s, struct traffic *t)
{
	if (!t)
		return;
	t->packets_out++;
	t->bytes_out += s->received_bytes;
}

/* Sends a client's packet along its flow; returns the outcome. `reason` is REASON_FLOW_CREATED with the flow's first packet. */
static __always_inline __u32 send_to_backend(struct xdp_md *ctx, struct scratch *s, const struct config *c, struct flow *f,
					     const struct backend *backend, __u32 reason)
{
	__u32 why = obstacle(s, backend->ifindex, backend->mtu);
	struct translation to = {
		.source = &f->snat,
		.destination = &backend->address,
		.source_mac = backend->source_mac,
		.destination_mac = backend->destination_mac,
		.source_port = f->snat_port,
		.destination_port = port_at(backend, s->tuple.destination_port),
		.checksum_delta = f->checksum_delta,
		.header_delta = f->header_delta,
	};

	s->backend = f->backend;
	if (why)
		return stopped(ctx, s, why);
	if (s->tuple.protocol == PROTOCOL_TCP && s->part != PART_LATER)
		tcp_from_client(s, f);
	if (f->seen != s->now && s->part != PART_LATER)
		f->seen = s->now;
	if (!translate(ctx, s, &to))
		return DROP(REASON_MALFORMED);
	count_in(s, service_traffic(f->service), reason == REASON_FLOW_CREATED);
	count_in(s, backend_traffic(f->backend), reason == REASON_FLOW_CREATED);
	return OUTCOME(reason, transmit(ctx, s, c, out_to(backend)));
}

/* The first UDP answer proves that the backend is there: the flow lives longer from now on */
static __always_inline void udp_from_backend(struct scratch *s, struct reply *r)
{
	struct flow *f;

	if (r->state == FLOW_UDP_ANSWERED)
		return;
	f = flow_of(s, r);
	if (!f)
		return;
	f->state = r->state = FLOW_UDP_ANSWERED;
}

/* Sends a backend's packet to the flow's client; returns the outcome. */
static __always_inline __u32 send_to_client(struct xdp_md *ctx, struct scratch *s, const struct config *c, struct reply *r)
{
	struct translation to = {
		.source = &r->vip,
		.destination = &r->client,
		.source_mac = r->source_mac,
		.destination_mac = r->destination_mac,
		.source_port = r->vip_port,
		.destination_port = r->client_port,
		.checksum_delta = r->checksum_delta,
		.header_delta = r->header_delta,
	};
	__u32 why;

	renew_way_back(ctx, s, c, r);
	why = obstacle(s, r->ifindex, r->mtu);
	if (why)
		return stopped(ctx, s, why);
	if (s->part != PART_LATER) {
		if (s->tuple.protocol == PROTOCOL_UDP)
			udp_from_backend(s, r);
		else if (!tcp_from_backend(s, r))
			return DROP(REASON_NO_FLOW);
		if (r->seen != s->now)
			r->seen = s->now;
	}
	if (!translate(ctx, s, &to))
		return DROP(REASON_MALFORMED);
	count_out(s, service_traffic(r->service));
	count_out(s, backend_traffic(r->backend));
	return OUTCOME(REASON_TO_CLIENT, transmit(ctx, s, c, r->ifindex));
}

#endif
