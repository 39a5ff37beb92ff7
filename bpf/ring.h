/* SPDX-License-Identifier: Apache-2.0 */
/* Which backend a slot belongs to, by the rings that the service's word names: `now` for new flows, `before` for flows that a change put
 * at risk. */
#ifndef L4LB_RING_H
#define L4LB_RING_H

/* Ring sizes are constants here, so that the verifier can prove each bound */
#define SLOT(slots, element, hash)                                     \
	({                                                             \
		struct ring_##slots *ring = ring_##slots##_get(element);\
		ring ? ring->slot[(hash) * (slots) >> 32] : 0;         \
	})

/* The slot that the hash picks in the ring `element` of the word's class: at_risk:1 | backend:15; 0 without a ring */
static __always_inline __u16 ring_slot(__u64 word, __u32 element, __u32 hash32)
{
	__u64 hash = hash32;

	if (!element)
		return 0;
	switch (word & SERVICE_RING_CLASS) {
	case 0:
		return SLOT(1021, element, hash);
	case 1:
		return SLOT(4093, element, hash);
	case 2:
		return SLOT(16381, element, hash);
	default:
		return SLOT(65537, element, hash);
	}
}

static __always_inline __u16 now_slot(__u64 word, __u32 hash32)
{
	return ring_slot(word, word >> 48, hash32);
}

/* A backend's id, 0 = none */
static __always_inline __u16 ring_backend(__u64 word, __u32 hash32)
{
	return now_slot(word, hash32) & SLOT_BACKEND;
}

/* Where flows of the slot were sent before the change that is settling; `now` when nothing differs, or that backend keeps none */
static __always_inline __u16 before_backend(__u64 word, __u32 hash32, __u16 now)
{
	__u32 element = word >> 32 & 0xffff;
	const struct backend *backend;
	__u16 id;

	if (element == word >> 48)
		return now;
	id = ring_slot(word, element, hash32) & SLOT_BACKEND;
	backend = backend_get(id);
	return id && backend && backend->flags & BACKEND_KEEP ? id : now;
}

#endif
