/* SPDX-License-Identifier: Apache-2.0 */
/* The two keyed hashes, bit for bit as agent/l4lb_agent/model/hashing.py computes them; the constants are splitmix64's (Steele et al.,
 * 2014). Words are little-endian, as the machine's own. */
#ifndef L4LB_HASH_H
#define L4LB_HASH_H

#define MIX_1 0xbf58476d1ce4e5b9ULL
#define MIX_2 0x94d049bb133111ebULL

static __always_inline __u64 mix(__u64 a, __u64 b, const __u64 *secret)
{
	__u64 x = (a ^ secret[0]) * MIX_1;

	x ^= x >> 32;
	x = (x ^ b ^ secret[1]) * MIX_2;
	x ^= x >> 29;
	x *= MIX_1;
	return x ^ x >> 32;
}

static __always_inline __u64 low_word(const struct address *address)
{
	return address->word[0] | (__u64)address->word[1] << 32;
}

static __always_inline __u64 high_word(const struct address *address)
{
	return address->word[2] | (__u64)address->word[3] << 32;
}

/* First half of the index hash: what depends on the address alone */
static __always_inline __u64 address_hash(const struct address *address, const __u64 *secret)
{
	return mix(low_word(address), high_word(address), secret);
}

/* Port in host order; 0 and protocol 0 for an address */
static __always_inline __u64 index_hash(__u64 address, __u16 port, __u8 protocol, const __u64 *secret)
{
	return mix(address, (__u64)port << 8 | protocol, secret);
}

/* The upper 32 bits pick the ring's slot, the lower ones are free for other choices */
static __always_inline __u64 tuple_hash(const union tuple *t, const __u64 *secret)
{
	__u64 both = mix(high_word(&t->source) ^ low_word(&t->destination) * MIX_2,
			      low_word(&t->source) ^ high_word(&t->destination), secret);
	__u64 ports = (__u64)ntohs(t->source_port) << 32 | (__u32)ntohs(t->destination_port) << 16 | t->protocol;

	return mix(both, ports, secret);
}

#endif
