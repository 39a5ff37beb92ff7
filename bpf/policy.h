/* SPDX-License-Identifier: Apache-2.0 */
/* The part of types.h about who may use a service, and how many new flows it takes. limit.h and lists.h work with it. */
#ifndef L4LB_POLICY_H
#define L4LB_POLICY_H

/* policies[service]: who may use it and who may begin a flow, read only where the service's word says so. Intervals and tolerances are
 * 2^-40 seconds. */
struct policy {
	__u64 service_interval;  /* between new flows at the service's rate, 0 = no limit */
	__u64 service_tolerance; /* its burst, as time */
	__u64 source_interval;   /* for each prefix of sources: a multiple of 2^16, 0 = no limit */
	__u64 source_tolerance;
	__u64 source_mask[2];    /* network order: what of a source is its prefix */
	__u32 allow_list;        /* number of the list of those who are let in, 0 = all are; read and stored together with the other */
	__u32 deny_list;         /* number of the list of those who are not, 0 = none */
	__u64 reserved;
}; /* 64 bytes */

/* lists: LPM_TRIE over the prefixes of all lists; the value is the prefix's length in bits of address, and one more */
struct list_key {
	__u32 bits; /* of the following that count */
	__u32 list; /* number:31 | IPv6:1 from the top bit down: a short IPv6 prefix holds no IPv4 address */
	struct address address;
}; /* 24 bytes */

/* service_limits[service], of which the first word counts; source_limits[hash of prefix and service]: eight prefixes each. See limit.h */
struct limit_line {
	__u64 word[8];
}; /* 64 bytes */
#define SOURCE_LIMIT_LINES 8192

#endif
