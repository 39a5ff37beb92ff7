/* SPDX-License-Identifier: Apache-2.0 */
/* The packet that an ICMP error quotes: of its transport header only the first 8 bytes need be there (RFC 792). None of its lengths is
 * believed; what is read and written lies within the error itself. */
#ifndef L4LB_QUOTE_H
#define L4LB_QUOTE_H

#define QUOTED_HEADERS 6       /* IPv6 extension headers in a quoted packet: as many as RFC 8200 4.1 orders before a transport */
#define QUOTE_MASK 0x3fff      /* offsets of its transport header, for the verifier: above what QUOTED_HEADERS can reach */
#define QUOTED_PORTS_BYTES 8
#define TCP_CHECKSUM_BYTES 18  /* of a TCP header, up to and with its checksum */

struct quote {
	__u32 transport; /* offset in the frame of the quoted transport header */
	__u32 end;       /* offset in the frame of the error's end */
};

static __always_inline __u32 quote_offset(const struct scratch *s)
{
	return IP_OFFSET + ICMP_BYTES + (s->family == 4 ? IPV4_BYTES : IPV6_BYTES);
}

static __always_inline void *quoted_bytes(struct xdp_md *ctx, const struct quote *q, __u32 size)
{
	return q->transport + size <= q->end ? bytes_at(ctx, q->transport, size) : NULL;
}

/* Expects the error's own addresses in the tuple. What it quotes was sent from where the error goes (RFC 1122 3.2.2), so that the tuple
 * of the packets in the other direction has its destination already. Returns 0 or a reason. */
static __always_inline __u32 read_quoted_ipv4(struct xdp_md *ctx, struct scratch *s, struct quote *q)
{
	__u32 offset = IP_OFFSET + IPV4_BYTES + ICMP_BYTES, header;
	const struct ipv4 *ip = bytes_at(ctx, offset, IPV4_BYTES);

	if (!ip || ip->version_length >> 4 != 4 || ip->source != s->tuple.destination.word[3])
		return REASON_ICMP_MALFORMED;
	header = (ip->version_length & 15) * 4;
	if (header < IPV4_BYTES || offset + header + QUOTED_PORTS_BYTES > q->end)
		return REASON_ICMP_MALFORMED;
	if (ip->fragment & htons(IPV4_OFFSET_MASK))
		return REASON_ICMP_NO_FLOW; /* its ports are in another fragment */
	mapped_address(&s->tuple.source, ip->destination);
	s->tuple.protocol = ip->protocol;
	q->transport = offset + header;
	return 0;
}

/* Whether ports can follow this extension header: not in a later fragment, and not while another address is the final one */
static __always_inline bool leads_to_ports(const struct extension *x, __u8 kind)
{
	if (kind == PROTOCOL_FRAGMENT)
		return !(((const struct fragment *)x)->offset & htons(IPV6_OFFSET_MASK));
	return kind != PROTOCOL_ROUTING || !x->segments_left;
}

/* Walks from the quoted packet's first extension header to its transport header, which starts at q->transport afterwards */
static __always_inline __u32 skip_extensions(struct xdp_md *ctx, struct scratch *s, struct quote *q)
{
	__u8 kind = s->tuple.protocol;

#pragma clang loop unroll(disable)
	for (int i = 0; i < QUOTED_HEADERS && is_extension(kind); i++) {
		const struct extension *x = quoted_bytes(ctx, q, EXTENSION_BYTES);

		if (!x)
			return REASON_ICMP_MALFORMED;
		if (!leads_to_ports(x, kind))
			return REASON_ICMP_NO_FLOW;
		q->transport = (q->transport + extension_bytes(x, kind)) & QUOTE_MASK;
		kind = x->next_header;
	}
	s->tuple.protocol = kind;
	return 0;
}

static __always_inline __u32 read_quoted_ipv6(struct xdp_md *ctx, struct scratch *s, struct quote *q)
{
	__u32 offset = IP_OFFSET + IPV6_BYTES + ICMP_BYTES;
	const struct ipv6 *ip = bytes_at(ctx, offset, IPV6_BYTES);

	if (!ip || offset + IPV6_BYTES > q->end || ntohl(ip->version_class_flow) >> 28 != 6 ||
	    !same_address((const struct address *)ip->source, &s->tuple.destination))
		return REASON_ICMP_MALFORMED;
	copy_address(&s->tuple.source, (const struct address *)ip->destination);
	s->tuple.protocol = ip->next_header;
	q->transport = offset + IPV6_BYTES;
	return skip_extensions(ctx, s, q);
}

/* Turns the error's addresses in the tuple into the tuple of a packet that would answer the quoted one: that is what its flow is found by.
 * Returns 0 or a reason. */
static __always_inline __u32 read_quote(struct xdp_md *ctx, struct scratch *s, struct quote *q)
{
	const struct udp *ports;
	__u32 why;

	q->end = IP_OFFSET + s->l3_bytes;
	why = s->family == 4 ? read_quoted_ipv4(ctx, s, q) : read_quoted_ipv6(ctx, s, q);
	if (why)
		return why;
	if (s->tuple.protocol != PROTOCOL_TCP && s->tuple.protocol != PROTOCOL_UDP)
		return REASON_ICMP_NO_FLOW;
	ports = quoted_bytes(ctx, q, QUOTED_PORTS_BYTES);
	if (!ports)
		return REASON_ICMP_MALFORMED;
	s->tuple.source_port = ports->destination;
	s->tuple.destination_port = ports->source;
	return 0;
}

#endif
