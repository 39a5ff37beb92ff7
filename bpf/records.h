/* SPDX-License-Identifier: Apache-2.0 */
/* Structures of NAT's flows: records, what finds them, which are free, how they are counted. */
#ifndef L4LB_RECORDS_H
#define L4LB_RECORDS_H

/* flows[id]: one record is the whole of a NAT flow. Both directions find it through flow_index, and compare their whole tuple with it;
 * its halves cannot part, as there are none. Element 0 is unused. */
struct flow {
	__u32 seen; /* second of the last packet */
	__u32 word; /* version:8 | place:4 | state:4 | flags:8 | protocol:8 from the top bit down; changed by compare-and-swap, with
	               `seen`: BPF has none for 32 bits */
	__u16 client_port;  /* network order, as all ports here */
	__u16 vip_port;
	__u16 backend_port;
	__u16 snat_port;
	__u16 backend;
	__u16 service;
	__u32 sequence; /* the client's initial sequence number, that of its last SYN */
	union {
		__u32 last_sequence; /* until the backend answers the second in which it began, then the sequence of its SYN+ACK */
		struct {             /* once the handshake is over (is_numbered() of reach.h): how far both have come, 64 KiB */
			__u16 client_reach;
			__u16 backend_reach;
		};
	};
	__u32 ifindex;       /* next hop towards the client: OUT() */
	__u16 mtu;
	__u16 route_generation; /* lower bits of config's */
	__u8 source_mac[6];
	__u8 destination_mac[6];
	__u32 client; /* network order; 0 in an IPv6 flow, whose addresses are in flows_v6 */
	__u32 vip;
	__u32 backend_address;
	__u32 snat;
}; /* 64 bytes */
#define FLOW_VERSION_SHIFT 24 /* another one whenever the record becomes another flow's */
#define FLOW_PLACE_SHIFT 20   /* slot in its bucket of `unanswered`, with FLOW_HELD */
#define FLOW_STATE_SHIFT 16
#define FLOW_FLAGS_SHIFT 8

/* flows_v6[id] */
struct flow_v6 {
	struct address client;
	struct address vip;
	struct address backend;
	struct address snat;
}; /* 64 bytes */

/* flow_index[hash & flow_index_mask], and its neighbour: entry = tag:32 | pending:1 | id:31 from the top bit down, 0 = free. Each flow has
 * an entry by the client's tuple and one by the backend's, claimed by compare-and-swap. Among the sixteen entries of both buckets no tag
 * comes twice. struct bucket */
#define FLOW_PENDING 0x80000000 /* a claim that another CPU may still break */

/* unanswered[hash & unanswered_mask]: the flows without an answer, and when they began. slot = id:28 | version:12 | 1/16 seconds:24
 * from the top bit down; id 0 = has no record */
struct unanswered {
	__u64 slot[16];
};
#define SLOT_ID_SHIFT 36
#define SLOT_VERSION_SHIFT 24
#define SLOT_BUSY 0xfffffffULL /* in the place of an id: a CPU is making a flow there */

/* pool[0]: which ids are free. The first come in order; after them those that the sweep has put into `spare` */
struct pool {
	__u64 taken; /* how many were taken, ever */
	__u64 reserved[7];
	__u64 given; /* how many the sweep gave back, ever: it alone writes here */
	__u64 more_reserved[7];
}; /* 128 bytes */

/* sweep_state[0]: what the sweep program has to do, and what it has found */
struct sweep {
	__u32 now;    /* second by which flows are judged */
	__u32 number; /* of this sweep */
	__u32 next;   /* id */
	__u32 end;    /* first id that is not looked at */
	__u32 flows;  /* found, closed ones too, without the deleted */
	__u32 deleted;
	__u32 reserved[2];
}; /* 32 bytes */
#define SWEEP_STEP 8 /* ids in one run of the program */
#define LINGER 2     /* seconds between the end of a flow for the datapath and its deletion: no packet may still be using it */

/* flow_counts[backend] */
struct flow_count {
	__u32 number; /* of the sweep that counted; else all is old */
	__u32 live;   /* neither closed nor over */
	__u32 entries;
	__u16 unanswered; /* of `live`: more than ANSWER_SECONDS old, and the backend has said nothing; at most 65535, as is the next */
	__u16 refused;    /* of the closed: the first that the backend said was a RST */
}; /* 16 bytes */
#define ANSWER_SECONDS 1

enum flow_state {
	FLOW_NONE = 0,
	FLOW_SYN = 1,         /* SYN seen */
	FLOW_ANSWERED = 2,    /* SYN+ACK seen */
	FLOW_ESTABLISHED = 3, /* the client acknowledged it */
	FLOW_CLOSING = 4,     /* one FIN seen */
	FLOW_CLOSED = 5,      /* both FINs, or a RST: the record only keeps the port in quarantine */
	FLOW_UDP = 6,         /* client packets only */
	FLOW_UDP_ANSWERED = 7,
};
#define FLOW_CLIENT_FIN 1
#define FLOW_BACKEND_FIN 2
#define FLOW_BACKEND_FIN_FIRST 4
#define FLOW_RESET 8
#define FLOW_LEFT 16      /* the ring sends new flows of the client's tuple elsewhere: no handshake may succeed here any more */
#define FLOW_DISPLACED 32 /* the client's tuple belongs to another flow: this one only keeps its port */
#define FLOW_HEARD 64     /* the backend has answered */
#define FLOW_HELD 128     /* in `unanswered`: may be replaced by another */

#endif
