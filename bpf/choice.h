/* SPDX-License-Identifier: Apache-2.0 */
/* How a packet finds its service and a flow its backend, besides index and rings: the structures, as in types.h. */
#ifndef L4LB_CHOICE_H
#define L4LB_CHOICE_H

/* port_ranges[element]: the ranges of one VIP and protocol, flattened: ports from first[i] to before first[i + 1] lead to service[i], the
 * narrowest range that holds them; 0 = none. first[0] is 0; places left over repeat the last one. */
struct port_ranges {
	__u16 first[128]; /* host order, ascending */
	__u16 service[128];
}; /* 512 bytes */
#define PORT_RANGES 128

/* affinity[hash of service and client's prefix & affinity_mask]: eight clients each, an entry as affinity.h says; 0 = empty */
struct affinity_bucket {
	__u64 entry[8];
}; /* 64 bytes */
#define AFFINITY_LONGEST 86400 /* seconds */

#endif
