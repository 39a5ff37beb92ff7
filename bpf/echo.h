/* SPDX-License-Identifier: Apache-2.0 */
/* Echo requests for a VIP, answered (RFC 792, RFC 1122 3.2.2.6, RFC 4443 4.2): identifier, sequence and data as they came. */
#ifndef L4LB_ECHO_H
#define L4LB_ECHO_H

#define SUMMED_FROM 4 /* type, code and checksum are added by hand */

/* Makes the reply's message of the request's. False when the request's checksum is wrong: what is dropped stays as it came. Everything is
 * summed anew, since a reply that is all zero has the checksum 0xffff, which no update of the request's would yield. */
static __always_inline bool write_echo_message(struct xdp_md *ctx, struct scratch *s, __u32 header)
{
	struct icmp *echo = bytes_at(ctx, IP_OFFSET + header, ICMP_BYTES);
	__u16 asked = htons((s->family == 4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST) << 8);
	__u16 answered = htons((s->family == 4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY) << 8);
	__u32 bytes = s->l3_bytes - header, offset = IP_OFFSET + header + SUMMED_FROM;
	__u64 sum = pseudo_sum(s, bytes);
	__u16 checksum;

	if (!echo)
		return false;
	checksum = echo->checksum;
	if (!message_sum(ctx, s, offset, bytes - SUMMED_FROM, SUM_BLOCKS, &sum) || fold(sum + asked + checksum) != 0xffff)
		return false;
	echo = bytes_at(ctx, IP_OFFSET + header, ICMP_BYTES);
	if (!echo)
		return false;
	echo->type = s->family == 4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;
	echo->checksum = ~fold(sum + answered);
	return true;
}

/* Back to the sender. The rest of the header stays: identification and DF too, so that routers may treat the reply as its sender wanted. */
static __always_inline bool turn_ipv4(struct xdp_md *ctx)
{
	struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);
	__u32 source;

	if (!ip)
		return false;
	source = ip->source;
	ip->source = ip->destination;
	ip->destination = source;
	ip->checksum = updated_checksum(ip->checksum, checksum_delta(htons(ip->ttl << 8), htons(ANSWER_TTL << 8)));
	ip->ttl = ANSWER_TTL;
	return true;
}

static __always_inline bool turn_ipv6(struct xdp_md *ctx, const struct scratch *s)
{
	struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	if (!ip)
		return false;
	copy_address((struct address *)ip->source, &s->tuple.destination);
	copy_address((struct address *)ip->destination, &s->tuple.source);
	ip->hop_limit = ANSWER_TTL;
	return true;
}

/* An echo request; returns the outcome. The budget comes before the checksum: a flood costs no sums. */
static __always_inline __u32 answer_echo(struct xdp_md *ctx, struct scratch *s, const struct config *c, __u32 header)
{
	struct budget *budget = budget_get(BUDGET_ICMP);
	struct ethernet *frame;

	if (s->owned_flags & ADDRESS_LOCAL)
		return PASS(REASON_LOCAL);
	if (!(s->owned_flags & ADDRESS_ECHO))
		return DROP(REASON_ECHO_REFUSED);
	if (!budget || !spend(c, budget, c->icmp_rate, c->icmp_burst))
		return DROP(REASON_ECHO_LIMITED);
	if (!write_echo_message(ctx, s, header))
		return DROP(REASON_ICMP_MALFORMED);
	frame = bytes_at(ctx, 0, sizeof(*frame));
	if (!frame || !(s->family == 4 ? turn_ipv4(ctx) : turn_ipv6(ctx, s)))
		return DROP(REASON_ICMP_MALFORMED);
	swap_macs(frame);
	return OUTCOME(REASON_ECHO_ANSWERED, send_back(ctx, s, c));
}

#endif
