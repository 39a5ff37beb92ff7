/* SPDX-License-Identifier: Apache-2.0 */
/* Source affinity: new flows of a client, or of a prefix of clients, go where its last one went, while that backend takes new flows. Only
 * new flows look and write here; which backend a flow has is its own business (records, flow_table). Shared between CPUs without a lock: an
 * entry is one word, stored whole. */
#ifndef L4LB_AFFINITY_H
#define L4LB_AFFINITY_H

/* Of an entry from the top bit down: tag:24 | again:1 | until:24 | backend:15; 0 = empty */
#define AFFINITY_TAG_SHIFT 40
#define AFFINITY_AGAIN (1ULL << 39) /* more than one new flow has come: what a flood of forged sources never does */
#define AFFINITY_UNTIL_SHIFT 15
#define AFFINITY_UNTIL 0xffffff     /* bits of a second */
#define AFFINITY_PLACES 8

#define AFFINITY_OWN 0xffffffff  /* worth of writing over the client's own entry */
#define AFFINITY_FREE 0xfffffffe /* over one that is over */
#define AFFINITY_ONCE 0x40000000 /* over one that came once */

/* Seconds that an entry has left, 0 when it is over. More than the longest is what a word of half a year ago looks like. */
static __always_inline __u32 affinity_left(const struct scratch *s, __u64 entry, __u32 longest)
{
	__u32 left = ((__u32)(entry >> AFFINITY_UNTIL_SHIFT) - s->now) & AFFINITY_UNTIL;

	return left <= longest ? left : 0;
}

/* What is lost least by writing over an entry: nothing, one that came once, then the one that ends first */
static __always_inline __u32 affinity_worth(const struct scratch *s, __u64 entry)
{
	__u32 left = affinity_left(s, entry, AFFINITY_LONGEST) & ~if_zero(entry);

	if (!left)
		return AFFINITY_FREE;
	return (entry & AFFINITY_AGAIN ? 0 : AFFINITY_ONCE) + AFFINITY_LONGEST + 1 - left;
}

/* The hash of the client's prefix at this service */
static __always_inline __u64 affinity_hash(const struct scratch *s, const struct config *c, const struct service *service)
{
	const struct address *a = &s->tuple.source;

	return mix((low_word(a) & service->affinity_mask[0]) ^ s->service * MIX_2, high_word(a) & service->affinity_mask[1],
		   c->slot_secret);
}

/* Finds the client's entry and the place to write one. By way of the scratch: the verifier walks each place once. */
static __always_inline void affinity_look(struct scratch *s, const struct affinity_bucket *bucket, __u64 tag)
{
	struct affinity *a = &s->affinity;

	a->entry = 0;
	a->worth = 0;
	a->place = 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < AFFINITY_PLACES; i++) {
		__u64 entry = *(const volatile __u64 *)&bucket->entry[i];
		bool own = entry && entry >> AFFINITY_TAG_SHIFT == tag;
		__u32 worth = own ? AFFINITY_OWN : affinity_worth(s, entry);

		if (own)
			a->entry = entry;
		if (worth <= a->worth)
			continue;
		a->worth = worth;
		a->place = i;
	}
}

/* The backend that the client's entry leads to; 0 when there is none, or it takes no new flows, or is another service's by now */
static __always_inline __u16 affinity_backend(const struct scratch *s, __u32 seconds)
{
	__u16 id = s->affinity.entry & SLOT_BACKEND;
	const struct backend *b = backend_get(id);

	if (!id || !b || !(b->flags & BACKEND_ELIGIBLE) || b->service != s->service || !affinity_left(s, s->affinity.entry, seconds))
		return 0;
	return id;
}

/* Where a new flow goes: where the client's last one went, else `now`, the ring's. Expects s->now. Sets s->affinity for affinity_keep(). */
static __always_inline __u16 affinity_choose(struct scratch *s, const struct config *c, __u16 now)
{
	const struct service *service = service_get(s->service);
	const struct affinity_bucket *bucket;
	__u16 id;
	__u64 hash;

	s->affinity.place = AFFINITY_PLACES;
	if (!service)
		return now;
	hash = affinity_hash(s, c, service);
	s->affinity.bucket = hash & c->affinity_mask;
	s->affinity.tag = hash >> AFFINITY_TAG_SHIFT;
	s->affinity.seconds = service->affinity_seconds;
	bucket = affinity_get(s->affinity.bucket);
	if (!bucket)
		return now;
	affinity_look(s, bucket, s->affinity.tag);
	id = affinity_backend(s, s->affinity.seconds);
	return id ? id : now;
}

/* A new flow has gone to the backend `id`: so will the next ones. Expects affinity_choose() before. */
static __always_inline void affinity_keep(const struct scratch *s, __u16 id)
{
	const struct affinity *a = &s->affinity;
	struct affinity_bucket *bucket = affinity_get(a->bucket);
	__u64 again = a->entry && (a->entry & SLOT_BACKEND) == id ? AFFINITY_AGAIN : 0;
	__u32 until = (s->now + a->seconds) & AFFINITY_UNTIL;

	if (!bucket || !id || a->place >= AFFINITY_PLACES)
		return;
	*(volatile __u64 *)&bucket->entry[a->place & (AFFINITY_PLACES - 1)] =
		a->tag << AFFINITY_TAG_SHIFT | again | (__u64)until << AFFINITY_UNTIL_SHIFT | id;
}

#endif
