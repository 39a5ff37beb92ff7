/* SPDX-License-Identifier: Apache-2.0 */
/* From bytes to the tuple. Nothing is refused before the destination is known to be ours: what is not passes untouched. */
#ifndef L4LB_PARSE_H
#define L4LB_PARSE_H

/* In the place of a reason: the packet is another program's business */
#define TO_ICMP REASONS
#define TO_ODD (REASONS + 1)

/* Reads both addresses into the tuple; false when the frame is too short to have them. Expects the right EtherType. */
static __always_inline bool read_ipv4_addresses(struct xdp_md *ctx, struct scratch *s)
{
	const struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	if (!ip)
		return false;
	mapped_address(&s->tuple.source, ip->source);
	mapped_address(&s->tuple.destination, ip->destination);
	s->family = 4;
	return true;
}

static __always_inline bool read_ipv6_addresses(struct xdp_md *ctx, struct scratch *s)
{
	const struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	if (!ip)
		return false;
	copy_address(&s->tuple.source, (const struct address *)ip->source);
	copy_address(&s->tuple.destination, (const struct address *)ip->destination);
	s->family = 6;
	return true;
}

#define TCP_KIND(flags) (1U << (((flags) & (TCP_FIN | TCP_SYN | TCP_RST)) | ((flags) & (TCP_ACK | TCP_URG)) >> 1))

/* Whether a TCP sends these flags in one segment, apart from PSH and those of ECN (RFC 9293 3.5 to 3.10). What is probed by the others
 * (none, FIN alone, all) is how a stack treats what its authors did not think of. */
static __always_inline bool sent_together(__u8 flags)
{
	const __u32 kinds = TCP_KIND(TCP_SYN) | TCP_KIND(TCP_SYN | TCP_URG) | TCP_KIND(TCP_SYN | TCP_ACK) | TCP_KIND(TCP_RST) |
			    TCP_KIND(TCP_RST | TCP_ACK) | TCP_KIND(TCP_ACK) | TCP_KIND(TCP_ACK | TCP_URG) |
			    TCP_KIND(TCP_FIN | TCP_ACK) | TCP_KIND(TCP_FIN | TCP_ACK | TCP_URG);

	return kinds & TCP_KIND(flags);
}

/* Sequence numbers and flags; returns 0 or a reason. `bytes` are those of the transport header and payload. */
static __always_inline __u32 read_tcp(struct xdp_md *ctx, struct scratch *s, __u32 offset, __u32 bytes)
{
	const struct tcp *tcp = bytes_at(ctx, offset, TCP_BYTES);
	__u32 header;

	if (!tcp || bytes < TCP_BYTES)
		return REASON_LENGTH_WRONG;
	header = tcp->offset >> 4 << 2;
	if (header < TCP_BYTES || header > bytes)
		return REASON_TCP_OFFSET_WRONG;
	if (!sent_together(tcp->flags))
		return REASON_TCP_FLAGS_WRONG;
	s->tuple.source_port = tcp->source;
	s->tuple.destination_port = tcp->destination;
	s->tcp_flags = tcp->flags;
	s->sequence = ntohl(tcp->sequence);
	s->acknowledgement = ntohl(tcp->acknowledgement);
	s->segment = bytes - header + !!(tcp->flags & TCP_SYN) + !!(tcp->flags & TCP_FIN);
	return 0;
}

static __always_inline __u32 read_udp(struct xdp_md *ctx, struct scratch *s, __u32 offset, __u32 bytes)
{
	const struct udp *udp = bytes_at(ctx, offset, UDP_BYTES);

	if (!udp || bytes < UDP_BYTES || ntohs(udp->length) < UDP_BYTES || ntohs(udp->length) > bytes)
		return REASON_LENGTH_WRONG;
	if (!udp->checksum && s->family == 6) /* RFC 8200 8.1 */
		return REASON_CHECKSUM_WRONG;
	s->tuple.source_port = udp->source;
	s->tuple.destination_port = udp->destination;
	return 0;
}

static __always_inline __u32 read_transport(struct xdp_md *ctx, struct scratch *s, __u8 protocol, __u32 header)
{
	s->tuple.protocol = protocol;
	s->transport = IP_OFFSET + header;
	if (protocol == PROTOCOL_TCP)
		return read_tcp(ctx, s, IP_OFFSET + header, s->l3_bytes - header);
	if (protocol == PROTOCOL_UDP)
		return read_udp(ctx, s, IP_OFFSET + header, s->l3_bytes - header);
	return REASON_PROTOCOL_UNSUPPORTED;
}

/* Of an IPv4 header without options; 0xffff when its checksum is right */
static __always_inline __u16 header_sum(const struct ipv4 *ip)
{
	const word *w = (const word *)ip;

	return fold((__u64)w[0] + w[1] + w[2] + w[3] + w[4]);
}

static __always_inline __u32 read_ipv4(struct xdp_md *ctx, struct scratch *s)
{
	const struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	if (!ip || ip->version_length >> 4 != 4 || (ip->version_length & 15) < 5)
		return REASON_VERSION_WRONG;
	s->l3_bytes = ntohs(ip->length);
	if (s->l3_bytes < (ip->version_length & 15) * 4 || IP_OFFSET + s->l3_bytes > s->frame_bytes)
		return REASON_LENGTH_WRONG;
	if ((ip->version_length & 15) != 5)
		return TO_ODD;
	if (header_sum(ip) != 0xffff)
		return REASON_CHECKSUM_WRONG;
	if (ip->fragment & htons(IPV4_FRAGMENT_MASK))
		return TO_ODD;
	s->ttl = ip->ttl;
	if (ip->protocol == PROTOCOL_ICMP)
		return TO_ICMP;
	return read_transport(ctx, s, ip->protocol, IPV4_BYTES);
}

static __always_inline __u32 read_ipv6(struct xdp_md *ctx, struct scratch *s)
{
	const struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	if (!ip || (ntohl(ip->version_class_flow) >> 28) != 6)
		return REASON_VERSION_WRONG;
	s->l3_bytes = IPV6_BYTES + ntohs(ip->payload_length);
	if (IP_OFFSET + s->l3_bytes > s->frame_bytes)
		return REASON_LENGTH_WRONG;
	s->ttl = ip->hop_limit;
	if (ip->next_header == PROTOCOL_TCP || ip->next_header == PROTOCOL_UDP)
		return read_transport(ctx, s, ip->next_header, IPV6_BYTES);
	if (ip->next_header == PROTOCOL_ICMPV6)
		return TO_ICMP;
	return is_extension(ip->next_header) ? TO_ODD : REASON_PROTOCOL_UNSUPPORTED;
}

/* Reads the rest of an IP packet whose addresses are in the tuple; returns 0, TO_ICMP, TO_ODD, or the reason why it cannot be balanced. */
static __always_inline __u32 read_packet(struct xdp_md *ctx, struct scratch *s)
{
	s->part = PART_WHOLE;
	s->summed = false;
	return s->family == 4 ? read_ipv4(ctx, s) : read_ipv6(ctx, s);
}

/* The place of the interface that the packet came by; it is that one's only when the agent has written it: `knows` */
static __always_inline const struct interface *interface_place(struct xdp_md *ctx)
{
	return interface_get(ctx->ingress_ifindex & (INTERFACE_PLACES - 1));
}

static __always_inline bool knows(struct xdp_md *ctx, const struct interface *place)
{
	return place->ifindex == ctx->ingress_ifindex;
}

/* Whether the frame was for this station alone. A switch floods those for stations that it does not know: an answer would confirm such a
 * station's MAC or cut its connections, a flow would be that station's, too. While the agent has not written our MAC any one will do. */
static __always_inline bool for_us(struct xdp_md *ctx)
{
	const struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));
	const struct interface *place = interface_place(ctx);

	if (!frame || !place || (frame->source[0] | frame->destination[0]) & 1)
		return false;
	return !knows(ctx, place) || same_mac(place->mac, frame->destination);
}

#endif
