/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted and limited: the structures, as in types.h. */
#ifndef L4LB_COUNTERS_H
#define L4LB_COUNTERS_H

/* service_counters[service]: per CPU */
struct traffic {
	__u64 packets_in; /* client to backend */
	__u64 bytes_in;   /* whole frames */
	__u64 packets_out;
	__u64 bytes_out;
	__u64 flows; /* created; of DSR and ENCAP services: SYNs, or entries made for UDP */
	__u64 table_reads; /* of flow_table */
	__u64 pinned;      /* entries that keep a flow where it was */
	__u64 evicted;     /* live entries of others that had to go for them */
};

/* backend_in[backend], backend_out[backend]: per CPU. There are many backends, and a packet counts in one of the two only: the less room
 * both take, the more often a cache still has what the packet needs. */
struct backend_in {
	__u64 packets;
	__u64 bytes;
	__u64 flows;
};

/* The latter; and reason_counters[reason * 8 + verdict]: per CPU. Their sum is the number of packets seen. */
struct count {
	__u64 packets;
	__u64 bytes;
};
#define VERDICTS 8

/* budgets[BUDGET_*], per CPU: what it may send of one kind */
struct budget {
	__u64 stamp;  /* 2^-24 seconds */
	__u64 tokens; /* 2^-24 packets */
};
#define BUDGET_RST 0
#define BUDGET_ICMP 1
#define BUDGET_TOO_BIG 2
#define BUDGETS 3

#endif
