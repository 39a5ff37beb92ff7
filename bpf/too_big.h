/* SPDX-License-Identifier: Apache-2.0 */
/* "Packet too big" (RFC 1191, RFC 8201): the answer tail tells the sender of a packet that is longer than its way out what would fit. The
 * answer comes from the address that the sender knows, the VIP or a SNAT address, and quotes the packet as it came. */
#ifndef L4LB_TOO_BIG_H
#define L4LB_TOO_BIG_H

#define IPV4_LEAST_TOLD 576 /* what every host must take (RFC 791 3.1); senders believe nothing far below */
#define IPV4_LONGEST_ERROR 576 /* RFC 1812 4.3.2.3 */
#define IPV6_LONGEST_ERROR 1280 /* RFC 4443 2.4 (c) */

/* Whether anything fits that may be told, and the sender wants to know: an IPv4 packet that may be fragmented is a router's to fragment,
 * which XDP cannot; a later fragment has no ports by which its sender could find the flow (RFC 1122 3.2.2) */
static __always_inline bool can_be_told(struct xdp_md *ctx, const struct scratch *s, __u16 mtu)
{
	const struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	if (s->l3_bytes <= mtu)
		return false;
	return s->family == 6 || (ip && (ip->fragment & htons(IPV4_DONT_FRAGMENT | IPV4_OFFSET_MASK)) == htons(IPV4_DONT_FRAGMENT));
}

static __always_inline bool write_error_ipv4(struct xdp_md *ctx, const struct scratch *s, __u32 bytes)
{
	struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	if (!ip)
		return false;
	ip->version_length = 0x45;
	ip->service = 0;
	ip->length = htons(IPV4_BYTES + bytes);
	ip->identification = 0;
	ip->fragment = htons(IPV4_DONT_FRAGMENT);
	ip->ttl = ANSWER_TTL;
	ip->protocol = PROTOCOL_ICMP;
	ip->checksum = 0;
	ip->source = s->tuple.destination.word[3];
	ip->destination = s->tuple.source.word[3];
	ip->checksum = ~fold(words_sum(ip, IPV4_BYTES / 2));
	return true;
}

static __always_inline bool write_error_ipv6(struct xdp_md *ctx, const struct scratch *s, __u32 bytes)
{
	struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	if (!ip)
		return false;
	ip->version_class_flow = htonl(6U << 28);
	ip->payload_length = htons(bytes);
	ip->next_header = PROTOCOL_ICMPV6;
	ip->hop_limit = ANSWER_TTL;
	copy_address((struct address *)ip->source, &s->tuple.destination);
	copy_address((struct address *)ip->destination, &s->tuple.source);
	return true;
}

/* The ICMP header of an error of `bytes`, and its checksum over all of them */
static __always_inline bool write_too_big(struct xdp_md *ctx, struct scratch *s, __u32 header, __u32 bytes, __u16 mtu)
{
	struct icmp *message = bytes_at(ctx, IP_OFFSET + header, ICMP_BYTES);
	__u64 sum = pseudo_sum(s, bytes);

	if (!message)
		return false;
	message->type = s->family == 4 ? ICMP_UNREACHABLE : ICMPV6_PACKET_TOO_BIG;
	message->code = s->family == 4 ? ICMP_CODE_FRAGMENTATION_NEEDED : 0;
	message->checksum = 0;
	message->word[0] = 0;
	message->word[1] = htons(mtu);
	if (!message_sum(ctx, s, IP_OFFSET + header, bytes, &sum))
		return false;
	message = bytes_at(ctx, IP_OFFSET + header, ICMP_BYTES);
	if (!message)
		return false;
	message->checksum = ~fold(sum);
	return true;
}

/* Makes room for the error's headers before `quoted` bytes of the packet, and sends the frame back */
static __always_inline bool turn_into_error(struct xdp_md *ctx, const struct scratch *s, __u32 headers, __u32 quoted)
{
	struct ethernet *frame, *quoted_frame;

	if (bpf_xdp_adjust_tail(ctx, (int)(IP_OFFSET + quoted) - (int)s->frame_bytes) || bpf_xdp_adjust_head(ctx, -(int)headers))
		return false;
	frame = bytes_at(ctx, 0, sizeof(*frame));
	quoted_frame = bytes_at(ctx, headers, sizeof(*frame));
	if (!frame || !quoted_frame)
		return false;
	copy_mac(frame->destination, quoted_frame->source);
	copy_mac(frame->source, quoted_frame->destination);
	frame->type = quoted_frame->type;
	return true;
}

static __always_inline __u32 answer_too_big(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u16 least = s->family == 4 ? IPV4_LEAST_TOLD : IPV6_LEAST_MTU, mtu = s->mtu < least ? least : s->mtu;
	__u32 header = s->family == 4 ? IPV4_BYTES : IPV6_BYTES;
	__u32 quoted = (s->family == 4 ? IPV4_LONGEST_ERROR : IPV6_LONGEST_ERROR) - header - ICMP_BYTES;
	struct budget *budget = too_big_budget_get();

	if (!can_be_told(ctx, s, mtu))
		return DROP(REASON_MTU_EXCEEDED);
	if (!budget || !spend(c, budget, c->icmp_rate, c->icmp_burst))
		return DROP(REASON_TOO_BIG_LIMITED);
	if (s->l3_bytes < quoted)
		quoted = s->l3_bytes;
	if (!turn_into_error(ctx, s, header + ICMP_BYTES, quoted))
		return DROP(REASON_NO_HEADROOM);
	if (!(s->family == 4 ? write_error_ipv4(ctx, s, ICMP_BYTES + quoted) : write_error_ipv6(ctx, s, ICMP_BYTES + quoted)))
		return DROP(REASON_MTU_EXCEEDED);
	if (!write_too_big(ctx, s, header, ICMP_BYTES + quoted, mtu))
		return DROP(REASON_MTU_EXCEEDED);
	return OUTCOME(REASON_TOO_BIG_ANSWERED, transmit(ctx, c, ctx->ingress_ifindex));
}

#endif
