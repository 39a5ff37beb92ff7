/* SPDX-License-Identifier: Apache-2.0 */
/* Every structure that the kernel maps hold. agent/l4lb_agent/model/layout.py mirrors this file; tests/law compiles both and compares
 * each size and offset. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291 2.5.5.2), so that one structure serves both families.
 * Fields in network byte order say so; all others are host order. */
#ifndef L4LB_TYPES_H
#define L4LB_TYPES_H

#define LAYOUT_VERSION 1

struct address {
	__u32 word[4]; /* network order */
};

/* config[0] */
struct config {
	__u64 slot_secret[2];   /* keys of the hash that picks a ring slot */
	__u64 index_secret[2];  /* keys of the hash that finds service and address buckets */
	__u32 layout;           /* LAYOUT_VERSION */
	__u32 second_multiplier; /* seconds = (jiffies64 * second_multiplier) >> 24 */
	__u32 route_generation; /* moves when routes or neighbours may have changed: reply next hops are looked up again */
	__u32 index_mask;       /* buckets in index, minus one (a power of two, minus one) */
	__u16 port_low;         /* source ports for SNAT: port_low <= port <= port_high */
	__u16 port_high;
	__u16 snat_v4;          /* addresses in snat[0 ..] */
	__u16 snat_v6;          /* addresses in snat[SNAT_V6_BASE ..] */
	__u32 flags;            /* CONFIG_* */
	__u32 rst_rate;         /* RST answers a second and CPU */
	__u32 rst_burst;
	__u16 timeout[12];      /* seconds, by enum flow_state; FLOW_ESTABLISHED comes from the service instead */
	__u16 quarantine_long;  /* seconds a closed flow keeps its port when the backend's FIN came first (RFC 9293 TIME-WAIT) */
	__u16 quarantine_short; /* else */
	__u32 reserved[7];
};                              /* 128 bytes */
#define CONFIG_TRANSMIT_REDIRECT 1 /* send back by redirect instead of XDP_TX (veth without a program on the peer) */
#define SNAT_V6_BASE 128

/* index[bucket]: eight candidates of one cache line. entry = tag:32 | kind:16 | id:16 from the top bit down; 0 = empty */
struct bucket {
	__u64 entry[8];
};
#define INDEX_ADDRESS 1 /* id is an index in addresses[] */
#define INDEX_SERVICE 2 /* id is an index in services[] */

/* addresses[id]: an address that the datapath owns */
struct owned_address {
	struct address address;
	__u32 flags; /* ADDRESS_* */
	__u32 reserved[3];
};                   /* 32 bytes */
#define ADDRESS_VIP 1
#define ADDRESS_SNAT 2
#define ADDRESS_LOCAL 4 /* also an address of this host: what is not balanced is passed, not dropped */

/* services[id]: found through index by (vip, port, protocol) */
struct service {
	__u64 word; /* now:16 | before:16 | flags:32 from the top bit down; read once per packet, stored whole */
	struct address vip;
	__u16 port; /* network order */
	__u8 protocol;
	__u8 family; /* 4 or 6 */
	__u32 idle_seconds; /* lifetime of an established or answered flow without packets */
	__u32 reserved[8];
}; /* 64 bytes */
#define SERVICE_RING_CLASS 3 /* bits 0-1 of the word's flags: 0 = 1021, 1 = 4093, 2 = 16381, 3 = 65537 slots */
#define SERVICE_PRESENT 4
/* now and before are indices in the array of the ring class; 0 = no ring */

/* rings_N[index]: slot = at_risk:1 | backend:15; backend 0 = none. Padded: LLVM folds shift and scaling, and the verifier
 * then sees one byte past the last slot. */
#define RING(slots) struct ring_##slots { __u16 slot[((slots) + 7) / 4 * 4]; }
RING(1021);
RING(4093);
RING(16381);
RING(65537);
#define SLOT_AT_RISK 0x8000
#define SLOT_BACKEND 0x7fff

/* backends[id]: 1 <= id <= 32767 */
struct backend {
	struct address address;
	__u16 port;    /* network order */
	__u16 flags;   /* BACKEND_* */
	__u32 ifindex; /* next hop, from the kernel's routes and neighbours; 0 = unresolved */
	__u8 source_mac[6];
	__u8 destination_mac[6];
	__u16 service;
	__u16 mtu;     /* of the way out, 0 = not checked */
	__u32 reserved[6];
};                     /* 64 bytes */
#define BACKEND_KEEP 1  /* flows that have an entry stay here; without it their entries are invalid (CUT) */
#define BACKEND_RESET 2 /* flows that have an entry are answered by RST, in both directions, and closed */

/* flows: HASH, client side of a NAT flow */
struct flow_key {
	struct address client;
	struct address vip;
	__u16 client_port; /* network order */
	__u16 vip_port;    /* network order */
	__u8 protocol;
	__u8 reserved[3];
}; /* 40 bytes */
struct flow {
	struct address snat;
	__u16 snat_port; /* network order */
	__u16 backend;
	__u16 service;
	__u16 checksum_delta; /* added to the transport checksum: addresses and ports, client side to backend side */
	__u16 header_delta;   /* added to the IPv4 header checksum: addresses only */
	__u8 state;           /* enum flow_state, the same in both halves */
	__u8 flags;           /* FLOW_* */
	__u32 seen;           /* second of this direction's last packet */
	__u32 created;        /* second */
	__u32 sequence;       /* the client's initial sequence number */
	__u32 last_sequence;  /* the sequence of the client's FIN; until then its initial sequence number */
	__u32 reserved[2];
}; /* 52 bytes */

/* replies: HASH, backend side of the same flow; claimed first (BPF_NOEXIST), given up last */
struct reply_key {
	struct address backend;
	struct address snat;
	__u16 backend_port; /* network order */
	__u16 snat_port;    /* network order */
	__u8 protocol;
	__u8 reserved[3];
}; /* 40 bytes */
struct reply {
	struct address client;
	struct address vip;
	__u16 client_port; /* network order */
	__u16 vip_port;    /* network order */
	__u16 backend;
	__u16 service;
	__u16 checksum_delta;
	__u16 header_delta;
	__u8 state;
	__u8 flags;
	__u16 mtu;
	__u32 seen;
	__u32 created;
	__u32 route_generation;
	__u32 ifindex; /* next hop towards the client */
	__u8 source_mac[6];
	__u8 destination_mac[6];
	__u8 left; /* the ring sends new flows of the client's tuple elsewhere: no handshake may succeed here any more */
	__u8 reserved[7];
}; /* 84 bytes */

enum flow_state {
	FLOW_NONE = 0,
	FLOW_SYN = 1,         /* SYN seen */
	FLOW_ANSWERED = 2,    /* SYN+ACK seen */
	FLOW_ESTABLISHED = 3, /* the client acknowledged it */
	FLOW_CLOSING = 4,     /* one FIN seen */
	FLOW_CLOSED = 5,      /* both FINs, or a RST: the entry only keeps the port in quarantine */
	FLOW_UDP = 6,         /* client packets only */
	FLOW_UDP_ANSWERED = 7,
};
#define FLOW_CLIENT_FIN 1
#define FLOW_BACKEND_FIN 2
#define FLOW_BACKEND_FIN_FIRST 4
#define FLOW_RESET 8

/* interfaces: HASH by ifindex; each interface that the program is attached to, written before the link is made. Answers to broadcast and
 * multicast requests are sent from this MAC. */
struct interface {
	__u8 mac[6];
	__u8 reserved[2];
}; /* 8 bytes */

/* port_full[hash of backend and SNAT address]: until when (1/16 seconds) new flows there are refused without a search,
 * unless one look finds a free port */
#define PORT_FULL_PLACES 4096

/* service_counters[service], backend_counters[backend]: per CPU */
struct traffic {
	__u64 packets_in; /* client to backend */
	__u64 bytes_in;   /* whole frames */
	__u64 packets_out;
	__u64 bytes_out;
	__u64 flows; /* created */
};

/* reason_counters[reason * 8 + verdict]: per CPU. Their sum is the number of packets seen. */
struct count {
	__u64 packets;
	__u64 bytes;
};
#define VERDICTS 8

/* tails: prog_array, filled before the program is attached, pinned with it, never changed in place */
#define TAIL_ICMP 0
#define TAIL_ODD 1
#define TAIL_NAT_NEW 2
#define TAIL_ANSWER 3
#define TAILS 4

#endif
