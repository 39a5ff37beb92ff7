/* SPDX-License-Identifier: Apache-2.0 */
/* Which backend a new flow goes to: the ring that the service's word names, at the slot that the tuple's hash picks. */
#ifndef L4LB_RING_H
#define L4LB_RING_H

/* Ring sizes are constants here, so that the verifier can prove each bound */
#define SLOT(slots, element, hash)                                     \
	({                                                             \
		struct ring_##slots *ring = ring_##slots##_get(element);\
		ring ? ring->slot[(hash) * (slots) >> 32] : 0;         \
	})

/* A backend's id, 0 = none */
static __always_inline __u16 ring_backend(__u64 word, __u32 hash32)
{
	__u32 element = word >> 48;
	__u64 hash = hash32;
	__u16 slot;

	if (!element)
		return 0;
	switch (word & SERVICE_RING_CLASS) {
	case 0:
		slot = SLOT(1021, element, hash);
		break;
	case 1:
		slot = SLOT(4093, element, hash);
		break;
	case 2:
		slot = SLOT(16381, element, hash);
		break;
	default:
		slot = SLOT(65537, element, hash);
	}
	return slot & SLOT_BACKEND;
}

#endif
