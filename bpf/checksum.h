/* SPDX-License-Identifier: Apache-2.0 */
/* Internet checksums (RFC 1071) and their incremental update (RFC 1624). All sums are over 16-bit words as they lie in memory: the
 * one's complement sum does not care about byte order. */
#ifndef L4LB_CHECKSUM_H
#define L4LB_CHECKSUM_H

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u64 address_sum(const struct address *a)
{
	return (__u64)a->word[0] + a->word[1] + a->word[2] + a->word[3];
}

/* What an update adds when words that sum to `old` become words that sum to `new` */
static __always_inline __u16 checksum_delta(__u64 old, __u64 new)
{
	return fold(new + (__u16)~fold(old));
}

/* RFC 1624 equation 3: never yields 0xffff where a full computation yields 0 */
static __always_inline __u16 updated_checksum(__u16 checksum, __u32 delta)
{
	return ~fold((__u16)~checksum + delta);
}

#endif
