/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of datagrams that come in fragments: the structures, as in types.h. */
#ifndef L4LB_DATAGRAM_H
#define L4LB_DATAGRAM_H

/* fragments[hash & (FRAGMENT_BUCKETS - 1)]: datagrams whose first fragment was forwarded, for those that follow. Shared between CPUs
 * without a lock: `word` is zero while the rest is written. */
struct fragment_entry {
	__u64 word;           /* tag:48 | backend:16 from the top bit down, 0 = empty */
	__u32 stamp;          /* 1/16 second of the first fragment */
	__u16 source_port;    /* network order, as it came */
	__u16 destination_port; /* network order, as it came */
	__u16 identification; /* what NAT makes of that of an IPv4 datagram: names this entry, so that no two that live are the same */
	__u16 first;          /* bytes that the first fragment brought: later ones begin behind them */
	__u8 protocol;
	__u8 reserved[11];
};                      /* 32 bytes */
struct fragment_bucket {
	struct fragment_entry entry[4];
}; /* 128 bytes */
#define FRAGMENT_BUCKETS 4096

#endif
