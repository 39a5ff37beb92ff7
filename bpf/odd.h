/* SPDX-License-Identifier: Apache-2.0 */
/* The odd tail: packets for owned addresses with IPv4 options or IPv6 extension headers, and fragments. They go the road of plain ones
 * where that is safe, and are refused for a reason of their own where it is not. */
#ifndef L4LB_ODD_H
#define L4LB_ODD_H

static __always_inline __u32 read_odd_ipv4(struct xdp_md *ctx, struct scratch *s)
{
	const struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);
	__u32 header;
	__u64 sum = 0;

	if (!ip)
		return REASON_LENGTH_WRONG;
	header = (ip->version_length & 15) * 4;
	s->ttl = ip->ttl;
	s->tuple.protocol = ip->protocol;
	s->transport = IP_OFFSET + header;
	s->piece.identification = ip->identification;
	s->piece.offset = (ntohs(ip->fragment) & IPV4_OFFSET_MASK) * 8;
	s->piece.more = !!(ip->fragment & htons(IPV4_MORE_FRAGMENTS));
	s->piece.bytes = s->l3_bytes - header;
	if (!block_sum(ctx, s, IP_OFFSET, header, &sum))
		return REASON_LENGTH_WRONG;
	if (fold(sum) != 0xffff)
		return REASON_CHECKSUM_WRONG;
	return read_ipv4_options(s, header);
}

static __always_inline __u32 read_odd_ipv6(struct xdp_md *ctx, struct scratch *s)
{
	const struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);
	__u32 rest = s->l3_bytes - IPV6_BYTES, loaded = HEADERS_BYTES + EXTENSION_BYTES;
	__u64 unused = 0;
	__u8 kind;

	if (!ip || !rest)
		return REASON_LENGTH_WRONG;
	s->ttl = ip->hop_limit;
	kind = ip->next_header;
	if (rest < loaded)
		loaded = rest;
	if (!block_sum(ctx, s, IP_OFFSET + IPV6_BYTES, loaded, &unused))
		return REASON_LENGTH_WRONG;
	return read_extensions(s, kind, loaded, loaded == rest);
}

/* Whether a first fragment has less than its whole transport header, which no sender does and filters are fooled by (RFC 1858, RFC 7112) */
static __always_inline bool is_tiny(struct xdp_md *ctx, const struct scratch *s, __u32 offset, __u32 bytes)
{
	const struct tcp *tcp;

	if (s->tuple.protocol != PROTOCOL_TCP)
		return bytes < UDP_BYTES;
	tcp = bytes_at(ctx, offset, TCP_BYTES);
	return !tcp || bytes < TCP_BYTES || bytes < (__u32)(tcp->offset >> 4 << 2);
}

/* Transport header of a packet, or of a first fragment, whose TCP segment ends in another fragment */
static __always_inline __u32 read_odd_transport(struct xdp_md *ctx, struct scratch *s)
{
	__u32 offset = s->transport & TRANSPORT_MASK, bytes = IP_OFFSET + s->l3_bytes - s->transport;
	bool first = s->part == PART_FIRST;

	if (s->tuple.protocol != PROTOCOL_TCP && s->tuple.protocol != PROTOCOL_UDP)
		return REASON_PROTOCOL_UNSUPPORTED;
	if (first && is_tiny(ctx, s, offset, bytes))
		return REASON_FRAGMENT_TINY;
	if (s->tuple.protocol == PROTOCOL_TCP)
		return read_tcp(ctx, s, offset, bytes);
	return read_udp(ctx, s, offset, first ? LONGEST_DATAGRAM : bytes);
}

/* Reads a packet that read_packet() left to this program; returns 0 or the reason why it cannot be balanced. ICMP is taken plain alone. */
static __always_inline __u32 read_odd(struct xdp_md *ctx, struct scratch *s)
{
	struct piece *p = &s->piece;
	bool icmp;
	__u32 why;

	p->offset = p->more = 0;
	s->recording = false;
	why = s->family == 4 ? read_odd_ipv4(ctx, s) : read_odd_ipv6(ctx, s);
	if (why)
		return why;
	s->part = p->offset ? PART_LATER : p->more ? PART_FIRST : PART_WHOLE;
	icmp = s->tuple.protocol == (s->family == 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6);
	if (s->part != PART_WHOLE && !piece_fits(p))
		return REASON_FRAGMENT_WRONG;
	if (icmp)
		return s->part == PART_WHOLE ? REASON_IP_OPTIONS : REASON_ICMP_FRAGMENT;
	return s->part == PART_LATER ? 0 : read_odd_transport(ctx, s);
}

/* For an outer UDP checksum: the sum of the packet as it will be, one hop later. (In IPv4 the header checksum makes up for the hop.) */
static __always_inline void sum_packet(struct xdp_md *ctx, struct scratch *s)
{
	__u64 sum = s->family == 4 ? 0 : (__u16)~htons(1);

	s->summed = message_sum(ctx, s, IP_OFFSET, s->l3_bytes, SUM_BLOCKS, &sum);
	s->payload = fold(sum);
}

/* A packet for a service, found, or for a SNAT address. What records the addresses on its way would tell clients of those behind the VIP,
 * and servers of another way than their packets take. */
static __always_inline __u32 odd_road(struct xdp_md *ctx, struct scratch *s, const struct config *c, bool service)
{
	bool direct = service && service_mode(s->word) > MODE_KEEP;

	if (s->recording && !direct)
		return refuse(s, REASON_IP_OPTIONS);
	if (direct && s->word & SERVICE_OUTER_CHECKSUM)
		sum_packet(ctx, s);
	return remember_piece(s, c, service ? to_backend(ctx, s, c) : for_snat(ctx, s, c));
}

static __always_inline __u32 odd_packet(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u64 address = address_hash(&s->tuple.destination, c->index_secret);
	const struct owned_address *owned;
	__u32 why = read_odd(ctx, s);
	bool service;

	if (why)
		return refuse(s, why);
	if (s->part == PART_LATER) {
		tail_call(ctx, TAIL_LATER);
		return DROP(REASON_TAIL_CALL_FAILED);
	}
	if (s->part == PART_FIRST) {
		name_piece(s, c);
		why = first_piece(s, c);
		if (why)
			return refuse(s, why);
	}
	owned = s->owned_flags & ADDRESS_VIP ? owned_find(c, address, &s->tuple.destination) : NULL;
	service = owned && service_find(s, c, owned, address);
	if (!service && !(s->owned_flags & (ADDRESS_SNAT | ADDRESS_FOREIGN)))
		return refuse(s, REASON_NO_SERVICE);
	return odd_road(ctx, s, c, service);
}

#endif
