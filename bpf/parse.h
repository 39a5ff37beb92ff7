/* SPDX-License-Identifier: Apache-2.0 */
/* From bytes to the tuple. Nothing is refused before the destination is known to be ours: what is not passes untouched. */
#ifndef L4LB_PARSE_H
#define L4LB_PARSE_H

#define TO_ICMP REASONS /* in the place of a reason: the packet is ICMP's tail's business */

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

/* Sequence numbers and flags; returns 0 or a reason. `bytes` are those of the transport header and payload. */
static __always_inline __u32 read_tcp(struct xdp_md *ctx, struct scratch *s, __u32 offset, __u32 bytes)
{
	const struct tcp *tcp = bytes_at(ctx, offset, TCP_BYTES);
	__u32 header;

	if (!tcp || bytes < TCP_BYTES)
		return REASON_MALFORMED;
	header = tcp->offset >> 4 << 2;
	if (header < TCP_BYTES || header > bytes)
		return REASON_MALFORMED;
	if (tcp->flags & TCP_SYN && tcp->flags & (TCP_FIN | TCP_RST))
		return REASON_MALFORMED;
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
		return REASON_MALFORMED;
	if (!udp->checksum && s->family == 6) /* RFC 8200 8.1 */
		return REASON_MALFORMED;
	s->tuple.source_port = udp->source;
	s->tuple.destination_port = udp->destination;
	return 0;
}

static __always_inline __u32 read_transport(struct xdp_md *ctx, struct scratch *s, __u8 protocol, __u32 header)
{
	s->tuple.protocol = protocol;
	if (protocol == PROTOCOL_TCP)
		return read_tcp(ctx, s, IP_OFFSET + header, s->l3_bytes - header);
	if (protocol == PROTOCOL_UDP)
		return read_udp(ctx, s, IP_OFFSET + header, s->l3_bytes - header);
	return REASON_PROTOCOL_UNSUPPORTED;
}

static __always_inline __u32 read_ipv4(struct xdp_md *ctx, struct scratch *s)
{
	const struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	if (!ip || ip->version_length >> 4 != 4 || (ip->version_length & 15) < 5)
		return REASON_MALFORMED;
	s->l3_bytes = ntohs(ip->length);
	if (s->l3_bytes < (ip->version_length & 15) * 4 || IP_OFFSET + s->l3_bytes > s->frame_bytes)
		return REASON_MALFORMED;
	if ((ip->version_length & 15) != 5)
		return REASON_IP_OPTIONS;
	if (ip->fragment & htons(IPV4_FRAGMENT_MASK))
		return ip->protocol == PROTOCOL_ICMP ? REASON_ICMP_FRAGMENT : REASON_FRAGMENT;
	s->ttl = ip->ttl;
	if (ip->protocol == PROTOCOL_ICMP)
		return TO_ICMP;
	return read_transport(ctx, s, ip->protocol, IPV4_BYTES);
}

static __always_inline bool icmpv6_fragment(struct xdp_md *ctx)
{
	const struct fragment *f = bytes_at(ctx, IP_OFFSET + IPV6_BYTES, sizeof(*f));

	return f && f->next_header == PROTOCOL_ICMPV6;
}

static __always_inline __u32 read_ipv6(struct xdp_md *ctx, struct scratch *s)
{
	const struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	if (!ip || (ntohl(ip->version_class_flow) >> 28) != 6)
		return REASON_MALFORMED;
	s->l3_bytes = IPV6_BYTES + ntohs(ip->payload_length);
	if (IP_OFFSET + s->l3_bytes > s->frame_bytes)
		return REASON_MALFORMED;
	s->ttl = ip->hop_limit;
	switch (ip->next_header) {
	case PROTOCOL_FRAGMENT:
		return icmpv6_fragment(ctx) ? REASON_ICMP_FRAGMENT : REASON_FRAGMENT;
	case PROTOCOL_ICMPV6:
		return TO_ICMP;
	case PROTOCOL_HOP_BY_HOP:
	case PROTOCOL_ROUTING:
	case PROTOCOL_AH:
	case PROTOCOL_DESTINATION_OPTIONS:
	case PROTOCOL_MOBILITY:
	case PROTOCOL_HIP:
	case PROTOCOL_SHIM6:
		return REASON_IP_OPTIONS;
	}
	return read_transport(ctx, s, ip->next_header, IPV6_BYTES);
}

/* Reads the rest of an IP packet whose addresses are in the tuple; returns 0, TO_ICMP, or the reason why it cannot be balanced. */
static __always_inline __u32 read_packet(struct xdp_md *ctx, struct scratch *s)
{
	return s->family == 4 ? read_ipv4(ctx, s) : read_ipv6(ctx, s);
}

/* Whether something may be sent to where the packet claims to come from (RFC 1122 3.2.1.3, RFC 4291 2.7), and its frame was for one
 * station: asked before a flow is created or an answer is sent. */
static __always_inline bool answerable(struct xdp_md *ctx, const struct scratch *s)
{
	const struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));
	const struct address *a = &s->tuple.source;
	__u8 first = s->family == 4 ? a->word[3] & 0xff : a->word[0] & 0xff;

	if (!frame || (frame->source[0] | frame->destination[0]) & 1 || same_address(a, &s->tuple.destination))
		return false;
	if (s->family == 4)
		return first && first != 127 && first < 224;
	return first != 0xff && !is_mapped(a) && (a->word[0] | a->word[1] | a->word[2] | (a->word[3] & ~htonl(1)));
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

/* Our MAC on this interface: what the agent wrote, or else where the frame went. False when the frame is for another station (a switch
 * floods those): an answer would confirm that station's MAC or cut its connections, a flow would be that station's, too. */
static __always_inline bool own_mac(struct xdp_md *ctx, __u8 *mac)
{
	const struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));
	const struct interface *place = interface_place(ctx);

	if (!frame || !place || frame->source[0] & 1)
		return false;
	if (!knows(ctx, place)) {
		copy_mac(mac, frame->destination);
		return !(frame->destination[0] & 1);
	}
	copy_mac(mac, place->mac);
	return frame->destination[0] & 1 || same_mac(mac, frame->destination);
}

/* Whether the frame was for this station alone */
static __always_inline bool for_us(struct xdp_md *ctx)
{
	const struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));
	const struct interface *place = interface_place(ctx);

	if (!frame || !place || (frame->source[0] | frame->destination[0]) & 1)
		return false;
	return !knows(ctx, place) || same_mac(place->mac, frame->destination);
}

#endif
