/* SPDX-License-Identifier: Apache-2.0 */
/* The sum over an ICMP or ICMPv6 message, whatever its length. */
#ifndef L4LB_MESSAGE_H
#define L4LB_MESSAGE_H

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

/* Adds the sum of a message of `bytes`, at most `most` whole blocks, at `offset` to `sum`; false when the frame does not hold it. The
 * verifier walks each block of `most`. */
static __always_inline bool message_sum(struct xdp_md *ctx, struct scratch *s, __u32 offset, __u32 bytes, __u32 most, __u64 *sum)
{
	__u32 blocks = bytes / SUM_BYTES, rest = bytes % SUM_BYTES;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < most; i++) {
		asm volatile("" : "+r"(i)); /* keeps LLVM from counting down from a number that the verifier does not know */
		if (i >= blocks)
			break;
		if (!block_sum(ctx, s, offset + i * SUM_BYTES, SUM_BYTES, sum))
			return false;
	}
	return !rest || block_sum(ctx, s, offset + bytes - rest, rest, sum);
}

/* What the checksum covers besides the message (RFC 4443 2.3); the same for request and reply */
static __always_inline __u64 pseudo_sum(const struct scratch *s, __u32 bytes)
{
	if (s->family == 4)
		return 0;
	return address_sum(&s->tuple.source) + address_sum(&s->tuple.destination) + htons(bytes) + htons(PROTOCOL_ICMPV6);
}

#endif
