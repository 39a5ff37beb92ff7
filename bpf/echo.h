/* SPDX-License-Identifier: Apache-2.0 */
/* Echo requests for a VIP, answered (RFC 792, RFC 1122 3.2.2.6, RFC 4443 4.2): identifier, sequence and data as they came. */
#ifndef L4LB_ECHO_H
#define L4LB_ECHO_H

#define SUM_BLOCKS 128 /* of SUM_BYTES: as much as an IP packet can hold */

/* Adds the sum of 1 to SUM_BYTES bytes of the frame to `sum`; false when it does not hold them. An odd byte counts as the first of a word
 * (RFC 1071). */
static __always_inline bool block_sum(struct xdp_md *ctx, struct scratch *s, __u32 offset, __u64 bytes, __u64 *sum)
{
	asm volatile("" : "+r"(bytes));
	bytes = ((bytes - 1) & (SUM_BYTES - 1)) + 1; /* what it is already, and the verifier knows by this */
	if (load_bytes(ctx, offset, s->block, bytes))
		return false;
	s->block[bytes] = s->block[bytes + 1] = s->block[bytes + 2] = 0;
	*sum += (__u32)bpf_csum_diff(NULL, 0, s->block, (bytes + 3) & ~3ULL, 0);
	return true;
}

/* Adds the sum of a message of `bytes` at `offset` to `sum`; false when the frame does not hold it */
static __always_inline bool message_sum(struct xdp_md *ctx, struct scratch *s, __u32 offset, __u32 bytes, __u64 *sum)
{
	__u32 blocks = bytes / SUM_BYTES, rest = bytes % SUM_BYTES;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SUM_BLOCKS && i < blocks; i++)
		if (!block_sum(ctx, s, offset + i * SUM_BYTES, SUM_BYTES, sum))
			return false;
	return !rest || block_sum(ctx, s, offset + bytes - rest, rest, sum);
}

/* What the checksum covers besides the message (RFC 4443 2.3); the same for request and reply */
static __always_inline __u64 pseudo_sum(const struct scratch *s, __u32 bytes)
{
	if (s->family == 4)
		return 0;
	return address_sum(&s->tuple.source) + address_sum(&s->tuple.destination) + htons(bytes) + htons(PROTOCOL_ICMPV6);
}

/* Makes the reply's message of the request's. False when the request's checksum is wrong. All words are summed with type and checksum
 * zero, since a reply that is all zero has the checksum 0xffff, which no update of the request's would yield. */
static __always_inline bool write_echo_message(struct xdp_md *ctx, struct scratch *s, __u32 header)
{
	struct icmp *echo = bytes_at(ctx, IP_OFFSET + header, ICMP_BYTES);
	__u16 asked = htons((s->family == 4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST) << 8);
	__u16 answered = htons((s->family == 4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY) << 8);
	__u32 bytes = s->l3_bytes - header;
	__u64 sum = pseudo_sum(s, bytes);
	__u16 checksum;

	if (!echo)
		return false;
	checksum = echo->checksum;
	echo->type = 0;
	echo->checksum = 0;
	if (!message_sum(ctx, s, IP_OFFSET + header, bytes, &sum) || fold(sum + asked + checksum) != 0xffff)
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
	struct budget *budget = icmp_budget_get();
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
	return OUTCOME(REASON_ECHO_ANSWERED, transmit(ctx, c, ctx->ingress_ifindex));
}

#endif
