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

/* Which of the 256 bits of config.owned_filter an address has */
static __always_inline __u8 owned_bit(const struct address *a)
{
	return (a->word[0] ^ a->word[1] ^ a->word[2] ^ a->word[3]) * 0x9e3779b1U >> 24;
}

/* Finds an address, and is the first half of what finds a service */
static __always_inline __u64 address_hash(const struct address *address, const __u64 *secret)
{
	return mix(low_word(address), high_word(address), secret);
}

/* Finds a service of the address with that hash; the port is in host order */
static __always_inline __u64 index_hash(__u64 address, __u16 port, __u8 protocol, const __u64 *secret)
{
	return mix(address, (__u64)port << 8 | protocol, secret);
}

static __always_inline __u64 ends_hash(const struct address *source, const struct address *destination, const __u64 *secret)
{
	return mix(high_word(source) ^ low_word(destination) * MIX_2, low_word(source) ^ high_word(destination), secret);
}

static __always_inline __u64 addresses_hash(const struct tuple *t, const __u64 *secret)
{
	return ends_hash(&t->source, &t->destination, secret);
}

static __always_inline __u64 ports_hash(__u64 addresses, __u16 source, __u16 destination, __u8 protocol, const __u64 *secret)
{
	return mix(addresses, (__u64)ntohs(source) << 32 | (__u32)ntohs(destination) << 16 | protocol, secret);
}

/* Of the whole tuple: what tells flows apart. The lower 32 bits are free for choices other than the slot's */
static __always_inline __u64 tuple_hash(const struct tuple *t, const __u64 *secret)
{
	return ports_hash(addresses_hash(t, secret), t->source_port, t->destination_port, t->protocol, secret);
}

/* Of the tuple of packets in the other direction */
static __always_inline __u64 reversed_hash(const struct tuple *t, const __u64 *secret)
{
	return ports_hash(ends_hash(&t->destination, &t->source, secret), t->destination_port, t->source_port, t->protocol, secret);
}

static __always_inline void reverse(struct tuple *to, const struct tuple *from)
{
	copy_address(&to->source, &from->destination);
	copy_address(&to->destination, &from->source);
	to->source_port = from->destination_port;
	to->destination_port = from->source_port;
	to->protocol = from->protocol;
}

/* The 32 bits that pick the slot: of the tuple's `hash`, or of the addresses alone where the service's word says so, so that flows of one
 * client come to one backend */
static __always_inline __u32 slot_pick(__u64 word, const struct tuple *t, __u64 hash, const __u64 *secret)
{
	switch ((word & SERVICE_HASH) >> SERVICE_HASH_SHIFT) {
	case HASH_SOURCE:
		return address_hash(&t->source, secret) >> 32;
	case HASH_SOURCE_DESTINATION:
		return addresses_hash(t, secret) >> 32;
	default:
		return hash >> 32;
	}
}

#endif
