/* SPDX-License-Identifier: Apache-2.0 */
/* Owned addresses and services, found through two buckets of eight candidates each (two-choice hashing, Azar et al. 1994). The agent
 * builds the buckets; a candidate counts only when the whole of what it names is equal. */
#ifndef L4LB_INDEX_H
#define L4LB_INDEX_H

#define CANDIDATES 16

/* Both buckets of a hash */
struct candidates {
	const struct bucket *first, *second;
	__u64 wanted; /* the upper 48 bits of a matching entry */
};

static __always_inline struct candidates candidates_of(const struct config *c, __u64 hash, __u16 kind)
{
	__u32 first = hash & c->index_mask, second = hash >> 16 & c->index_mask;
	struct candidates found = {
		.first = bucket_get(first),
		.second = bucket_get(first == second ? second ^ 1 : second),
		.wanted = hash >> 32 << 16 | kind,
	};

	return found;
}

/* The entry in one of 16 places when it matches, else 0 */
static __always_inline __u64 matching(const struct candidates *among, int place)
{
	const struct bucket *b = place < CANDIDATES / 2 ? among->first : among->second;
	__u64 entry = b ? b->entry[place % (CANDIDATES / 2)] : 0;

	return entry >> 16 == among->wanted ? entry : 0;
}

/* The element of an address that the datapath owns; `address` is its address_hash() */
static __always_inline struct owned_address *owned_find(const struct config *c, __u64 address, const struct address *a)
{
	struct candidates among = candidates_of(c, index_hash(address, 0, 0, c->index_secret), INDEX_ADDRESS);

#pragma clang loop unroll(disable)
	for (int i = 0; i < CANDIDATES; i++) {
		__u64 entry = matching(&among, i);
		struct owned_address *owned;

		if (!entry)
			continue;
		owned = owned_get((__u16)entry);
		if (owned && owned->flags && same_address(&owned->address, a))
			return owned;
	}
	return NULL;
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

/* Finds the service of the packet's destination, sets s->service and s->word; `address` is the destination's address_hash() */
static __always_inline bool service_find(struct scratch *s, const struct config *c, __u64 address)
{
	__u64 hash = index_hash(address, ntohs(s->tuple.destination_port), s->tuple.protocol, c->index_secret);
	struct candidates among = candidates_of(c, hash, INDEX_SERVICE);

#pragma clang loop unroll(disable)
	for (int i = 0; i < CANDIDATES; i++) {
		__u64 entry = matching(&among, i), word;

		if (!entry)
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

#endif
