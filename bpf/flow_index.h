/* SPDX-License-Identifier: Apache-2.0 */
/* The index of NAT's flows: which record a tuple's hash leads to. Nothing is locked: entries are exchanged by compare-and-swap. */
#ifndef L4LB_FLOW_INDEX_H
#define L4LB_FLOW_INDEX_H

#define ADD_TRIES 2 /* while other CPUs take the free places */
#define ABSENT (2 * PLACES)
#define RIVALS 2 /* looks at who else claims a tuple: one may be broken in between */

/* What a bucket of flow_index says of a tag: pending and id, 0 when nothing. No branch: which entry it is cannot be foretold */
static __always_inline __u32 tagged(const struct bucket *b, __u32 tag)
{
	__u32 found = 0;

#pragma unroll
	for (int i = 0; i < PLACES; i++) {
		__u64 entry = *(const volatile __u64 *)&b->entry[i];

		found |= (__u32)entry & if_zero(entry >> 32 ^ tag);
	}
	return found;
}

/* The id that the index has for a tuple's hash, 0 when none; only the whole comparison with the record decides */
static __always_inline __u32 indexed(const struct config *c, __u64 hash)
{
	const struct bucket *b = flow_index_get(hash & c->flow_index_mask);
	__u32 found = b ? tagged(b, hash >> 32) : 0;

	if (!found) {
		b = flow_index_get((hash & c->flow_index_mask) ^ 1);
		found = b ? tagged(b, hash >> 32) : 0;
	}
	return found & ~FLOW_PENDING;
}

static __always_inline struct bucket *index_bucket(const struct config *c, __u64 hash, __u32 which)
{
	return flow_index_get((hash & c->flow_index_mask) ^ which);
}

/* The lower halves of a bucket's entries of this tag beside `own`, or'ed: the one, while there is one. No branch, as in tagged() */
static __always_inline __u32 rivals_in(const struct bucket *b, __u64 own)
{
	__u32 found = 0;

#pragma unroll
	for (int i = 0; i < PLACES; i++) {
		__u64 difference = *(const volatile __u64 *)&b->entry[i] ^ own;

		found |= (__u32)(difference ^ own) & if_zero(difference >> 32) & ~if_zero(difference);
	}
	return found;
}

/* The same for both buckets of a hash; `own` has its tag */
static __always_inline __u32 index_rivals(const struct config *c, __u64 hash, __u64 own)
{
	const struct bucket *first = index_bucket(c, hash, 0), *second = index_bucket(c, hash, 1);

	return first && second ? rivals_in(first, own) | rivals_in(second, own) : 0;
}

/* The place of an entry in a bucket, PLACES when it is not there. No branch */
static __always_inline __u32 place_in(const struct bucket *b, __u64 entry)
{
	__u32 place = PLACES;

#pragma unroll
	for (int i = 0; i < PLACES; i++) {
		__u64 difference = *(const volatile __u64 *)&b->entry[i] ^ entry;
		place ^= (place ^ i) & if_zero(difference);
	}
	return place;
}

/* The same in both buckets of a hash: the second one's places follow; ABSENT when it is in neither */
static __always_inline __u32 index_place(const struct config *c, __u64 hash, __u64 entry)
{
	const struct bucket *first = index_bucket(c, hash, 0), *second = index_bucket(c, hash, 1);
	__u32 place = first ? place_in(first, entry) : PLACES;

	return place + place / PLACES * (second ? place_in(second, entry) : PLACES);
}

/* Exchanges the entry in a place for another; false when it is there no more */
static __always_inline bool index_put(const struct config *c, __u64 hash, __u32 place, __u64 old, __u64 new)
{
	struct bucket *b = index_bucket(c, hash, place / PLACES & 1);

	return b && place < ABSENT && __sync_bool_compare_and_swap(&b->entry[place & (PLACES - 1)], old, new);
}

static __always_inline bool index_change(const struct config *c, __u64 hash, __u64 old, __u64 new)
{
	return index_put(c, hash, index_place(c, hash, old), old, new);
}

/* Puts an entry into a free place: s->index_place, ABSENT when there is none. In the scratch, here and below, because the verifier then
 * does not tell apart by which way a result came about. */
static __always_inline void index_add(struct scratch *s, const struct config *c, __u64 hash, __u64 entry)
{
	s->index_place = ABSENT;
#pragma clang loop unroll(disable)
	for (int i = 0; i < ADD_TRIES; i++) {
		__u32 place = index_place(c, hash, 0);

		if (index_put(c, hash, place, 0, entry)) {
			*(volatile __u32 *)&s->index_place = place;
			break;
		}
	}
}

static __always_inline __u64 index_entry(__u64 hash, __u32 id)
{
	return hash >> 32 << 32 | id;
}

/* Claims a tuple, which several CPUs may want at once: exactly one gets it. A claim is pending until it is seen to have no rival; of two
 * pending ones that with the lower id breaks the other. Who does not get it leaves nothing behind. */
static __always_inline bool index_claim(struct scratch *s, const struct config *c, __u64 hash, __u32 id)
{
	__u64 own = index_entry(hash, id | FLOW_PENDING);
	__u32 place;

	index_add(s, c, hash, own);
	place = *(volatile __u32 *)&s->index_place;
	s->claimed = false;
#pragma clang loop unroll(disable)
	for (int i = 0; i < RIVALS; i++) {
		__u32 rival = index_rivals(c, hash, own);

		if (!rival) {
			s->claimed = index_put(c, hash, place, own, index_entry(hash, id));
			break;
		}
		if (!(rival & FLOW_PENDING) || rival < (__u32)own)
			break;
		index_change(c, hash, index_entry(hash, rival), 0);
	}
	if (*(volatile bool *)&s->claimed)
		return true;
	index_put(c, hash, place, own, 0);
	return false;
}

#endif
