/* SPDX-License-Identifier: Apache-2.0 */
/* Owned addresses and services, found through two buckets of eight candidates each (two-choice hashing, Azar et al. 1994). The agent
 * builds the buckets; a candidate counts only when the whole of what it names is equal. */
#ifndef L4LB_INDEX_H
#define L4LB_INDEX_H

/* An entry's upper 48 bits */
static __always_inline __u64 wanted_entry(__u64 hash, __u16 kind)
{
	return hash >> 32 << 16 | kind;
}

static __always_inline const struct bucket *first_bucket(const struct config *c, __u64 hash)
{
	return bucket_get(hash & c->index_mask);
}

static __always_inline bool bucket_full(const struct bucket *b)
{
#pragma unroll
	for (int i = 0; i < PLACES; i++)
		if (!b || !b->entry[i])
			return false;
	return true;
}

static __always_inline __u32 second_place(__u64 hash, __u32 mask)
{
	__u32 one = hash & mask, other = hash >> 16 & mask;

	return one == other ? other ^ 1 : other;
}

/* The bucket to look into after `first`, or NULL: entries are in their second one only while the first is full */
static __always_inline const struct bucket *second_bucket(const struct config *c, __u64 hash, const struct bucket *first)
{
	return bucket_full(first) ? bucket_get(second_place(hash, c->index_mask)) : NULL;
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

static __always_inline __u8 service_mode(__u64 word)
{
	return (word & SERVICE_MODE) >> SERVICE_MODE_SHIFT;
}

/* The service's word, read once; 0 when it is of another address or protocol, or none */
static __always_inline __u64 present_word(const struct service *service, const struct tuple *t)
{
	__u64 word;

	if (service->protocol != t->protocol || !same_address(&service->vip, &t->destination))
		return 0;
	word = *(const volatile __u64 *)&service->word;
	return word & SERVICE_PRESENT ? word : 0;
}

/* The word of a candidate with a single port; 0 when that is another service or none */
static __always_inline __u64 service_word(__u32 id, const struct tuple *t)
{
	const struct service *service = service_get(id);

	return service && service->port == t->destination_port ? present_word(service, t) : 0;
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

/* The service of the narrowest range that holds the port; 0 = none */
static __always_inline __u32 ranged_service(const struct scratch *s, __u32 element)
{
	const struct port_ranges *ranges = port_ranges_get(element);
	__u16 port = ntohs(s->tuple.destination_port);
	__u32 i = 0;

	if (!ranges)
		return 0;
#pragma unroll
	for (__u32 step = PORT_RANGES / 2; step; step /= 2)
		if (ranges->first[(i + step) & (PORT_RANGES - 1)] <= port)
			i += step;
	return ranges->service[i & (PORT_RANGES - 1)];
}

/* Finds the service of a port that has none of its own by the ranges of its address */
static __always_inline bool range_look(struct scratch *s, const struct owned_address *owned)
{
	__u32 element = s->tuple.protocol == PROTOCOL_TCP ? owned->ranges_tcp : owned->ranges_udp;
	const struct service *service;
	__u16 port;
	__u32 id;

	if (!element)
		return false;
	id = ranged_service(s, element);
	service = service_get(id);
	port = ntohs(s->tuple.destination_port);
	if (!service || port < ntohs(service->port) || port > service->port_end)
		return false;
	s->service = id;
	s->word = present_word(service, &s->tuple);
	return s->word;
}

/* The same; `address` is the destination's address_hash(). Most VIPs have one service: theirs is found without a look into `index`. A port
 * with a service of its own never leads to a range. */
static __always_inline bool service_find(struct scratch *s, const struct config *c, const struct owned_address *owned, __u64 address)
{
	__u64 word = service_word(owned->service, &s->tuple);

	if (!word)
		return service_look(s, c, address) || range_look(s, owned);
	s->word = word;
	s->service = owned->service;
	return true;
}

#endif
