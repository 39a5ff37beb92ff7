/* SPDX-License-Identifier: Apache-2.0 */
/* Owned addresses and services, found through two buckets of eight candidates each (two-choice hashing, Azar et al. 1994). The agent
 * builds the buckets; a candidate counts only when the whole of what it names is equal. */
#ifndef L4LB_INDEX_H
#define L4LB_INDEX_H

#define PLACES 8

/* An entry's upper 48 bits */
static __always_inline __u64 wanted_entry(__u64 hash, __u16 kind)
{
	return hash >> 32 << 16 | kind;
}

static __always_inline const struct bucket *first_bucket(const struct config *c, __u64 hash)
{
	return bucket_get(hash & c->index_mask);
}

/* The bucket to look into after `first`, or NULL: entries are in their second one only while the first is full */
static __always_inline const struct bucket *second_bucket(const struct config *c, __u64 hash, const struct bucket *first)
{
	__u32 one = hash & c->index_mask, other = hash >> 16 & c->index_mask;

#pragma unroll
	for (int i = 0; i < PLACES; i++)
		if (!first || !first->entry[i])
			return NULL;
	return bucket_get(one == other ? other ^ 1 : other);
}

static __always_inline struct owned_address *owned_in(const struct bucket *b, __u64 wanted, const struct address *a)
{
#pragma clang loop unroll(disable)
	for (int i = 0; b && i < PLACES; i++) {
		__u64 entry = b->entry[i];
		struct owned_address *owned;

		if (entry >> 16 != wanted)
			continue;
		owned = owned_get((__u16)entry);
		if (owned && owned->flags && same_address(&owned->address, a))
			return owned;
	}
	return NULL;
}

/* The element of an address that the datapath owns; `address` is its address_hash() */
static __always_inline struct owned_address *owned_find(const struct config *c, __u64 address, const struct address *a)
{
	__u64 wanted = wanted_entry(address, INDEX_ADDRESS);
	const struct bucket *first = first_bucket(c, address);
	struct owned_address *owned = owned_in(first, wanted, a);

	return owned ? owned : owned_in(second_bucket(c, address, first), wanted, a);
}

/* The service's word, read once; 0 when the candidate is another service or none */
static __always_inline __u64 service_word(__u32 id, const union tuple *t)
{
	struct service *service = service_get(id);
	__u64 word;

	if (!service || service->port != t->destination_port || service->protocol != t->protocol ||
	    !same_address(&service->vip, &t->destination))
		return 0;
	word = *(volatile __u64 *)&service->word;
	return word & SERVICE_PRESENT ? word : 0;
}

static __always_inline bool service_in(struct scratch *s, const struct bucket *b, __u64 wanted)
{
#pragma clang loop unroll(disable)
	for (int i = 0; b && i < PLACES; i++) {
		__u64 entry = b->entry[i], word;

		if (entry >> 16 != wanted)
			continue;
		word = service_word((__u16)entry, &s->tuple);
		if (!word)
			continue;
		s->word = word;
		s->service = (__u16)entry;
		return true;
	}
	return false;
}

/* Finds the service of the packet's destination by `index`, sets s->service and s->word */
static __always_inline bool service_look(struct scratch *s, const struct config *c, __u64 address)
{
	__u64 hash = index_hash(address, ntohs(s->tuple.destination_port), s->tuple.protocol, c->index_secret);
	__u64 wanted = wanted_entry(hash, INDEX_SERVICE);
	const struct bucket *first = first_bucket(c, hash);

	return service_in(s, first, wanted) || service_in(s, second_bucket(c, hash, first), wanted);
}

/* The same; `address` is the destination's address_hash(). Most VIPs have one service: theirs is found without a look into `index`. */
static __always_inline bool service_find(struct scratch *s, const struct config *c, const struct owned_address *owned, __u64 address)
{
	__u64 word = service_word(owned->service, &s->tuple);

	if (!word)
		return service_look(s, c, address);
	s->word = word;
	s->service = owned->service;
	return true;
}

#endif
