/* SPDX-License-Identifier: Apache-2.0 */
/* Every structure that the kernel maps hold, here, in choice.h or in counters.h. agent/l4lb_agent/model/layout.py mirrors them;
 * tests/law compiles both and compares each size and offset. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291 2.5.5.2), so that
 * one structure serves both families. Fields in network byte order say so; all others are host order. */
#ifndef L4LB_TYPES_H
#define L4LB_TYPES_H

#define LAYOUT_VERSION 2

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
	__u32 flow_mask;        /* buckets in flow_table, minus one (a power of two, minus one) */
	__u32 icmp_rate;        /* ICMP answers a second and CPU */
	__u32 icmp_burst;
	__u32 spread_v4;        /* network order: prefix of outer sources that are spread */
	__u32 spread_v4_mask;   /* network order: bits of it that come from the flow's hash */
	struct address spread_v6; /* the last 32 bits come from the flow's hash */
	__u16 tracked_syn;      /* seconds that an unconfirmed entry of flow_table lives without packets */
	__u16 tracked_fin;      /* after a FIN */
	__u16 tracked_rst;      /* after a RST */
	__u16 reserved_half;
	__u32 owned_filter[8];  /* a bit for each owned address (owned_bit() of hash.h): tells most others from them */
	__u32 affinity_mask;    /* buckets in affinity, minus one (a power of two, minus one) */
	__u32 flow_index_mask;  /* buckets in flow_index, minus one (a power of two, minus one) */
	__u32 unanswered_mask;  /* buckets in unanswered, minus one (a power of two, minus one) */
	__u32 spare_mask;       /* elements in spare, minus one (a power of two, minus one) */
	__u32 flow_ids;         /* elements in flows, without the first */
	__u32 kept_mask;        /* buckets in kept, minus one (a power of two, minus one) */
	__u32 kept_filter[8];   /* as owned_filter, of the addresses in kept */
	__u32 reserved[7];
};                              /* 256 bytes */
#define CONFIG_TRANSMIT_REDIRECT 1 /* send back by redirect instead of XDP_TX (veth without a program on the peer) */
#define CONFIG_VLANS 2 /* there are some in vlans[] */
#define CONFIG_KEEP 4 /* there are some in kept[] */
#define SNAT_V6_BASE 128

/* index[bucket], kept[bucket]: eight candidates of one cache line. entry = tag:32 | kind:16 | id:16 from the top bit down; 0 = empty */
#define PLACES 8
struct bucket {
	__u64 entry[PLACES];
};
#define INDEX_ADDRESS 1 /* id is an index in addresses[] */
#define INDEX_SERVICE 2 /* id is an index in services[] */
#define INDEX_BACKEND 3 /* in kept: id is an index in backends[], of one that has the address and a MODE_KEEP service */

/* addresses[id]: an address that the datapath owns */
struct owned_address {
	struct address address;
	__u32 flags; /* ADDRESS_* */
	__u32 service; /* index in services[] of one of the VIP's with a single port, tried before index is asked; 0 = none */
	__u16 ranges_tcp; /* index in port_ranges[] of what TCP ports without a service of their own lead to; 0 = none */
	__u16 ranges_udp;
	__u32 reserved;
};                     /* 32 bytes */
#define ADDRESS_VIP 1
#define ADDRESS_SNAT 2
#define ADDRESS_LOCAL 4 /* also an address of this host: what is not balanced is passed, not dropped */
#define ADDRESS_ECHO 8  /* answers echo requests */
#define ADDRESS_FOREIGN 16 /* in no map: the packet's destination is nobody's here, and may be a client's (keep.h) */

/* services[id]: found through index by (vip, port, protocol), or through port_ranges */
struct service {
	__u64 word; /* now:16 | before:16 | flags:32 from the top bit down; read once per packet, stored whole */
	struct address vip;
	__u16 port; /* network order; of a range the first */
	__u8 protocol;
	__u8 family; /* 4 or 6 */
	__u32 idle_seconds; /* lifetime of an established or answered flow without packets */
	__u16 encap_port;   /* network order: UDP destination port of GUE */
	__u16 mss;          /* longest TCP segments that SYNs may ask for, MSS_AUTO: what fits into the backend's MTU; 0 = as they ask */
	__u16 port_end;     /* last port of a range; 0 = a single port */
	__u16 reserved_half;
	__u64 affinity_mask[2]; /* network order: what of a source is the client's prefix */
	__u32 affinity_seconds;
	__u32 reserved;
}; /* 64 bytes */
/* Flags of the word: all that decides a packet's road. now and before are indices in the array of the ring class; 0 = no ring */
#define SERVICE_RING_CLASS 3 /* 0 = 1021, 1 = 4093, 2 = 16381, 3 = 65537 slots */
#define SERVICE_PRESENT 4
#define SERVICE_MODE_SHIFT 3
#define SERVICE_MODE 56 /* enum mode << SERVICE_MODE_SHIFT */
#define SERVICE_TRACK_ALL 64      /* every flow has an entry in flow_table; else only those that a change put at risk */
#define SERVICE_SPREAD 128        /* outer sources are spread over a prefix, by flow */
#define SERVICE_OUTER_CHECKSUM 256 /* outer UDP headers have a checksum */
#define SERVICE_HASH_SHIFT 9
#define SERVICE_HASH 0x600 /* enum flow_hash << SERVICE_HASH_SHIFT */
#define SERVICE_ON_EMPTY_SHIFT 11
#define SERVICE_ON_EMPTY 0x1800 /* enum on_empty << SERVICE_ON_EMPTY_SHIFT */
#define SERVICE_AFFINITY 0x2000 /* new flows of a client go where its last one went: see affinity.h */
#define SERVICE_LIMITED 0x1000000 /* new flows are limited: see policies */
#define SERVICE_LISTED 0x2000000  /* clients are looked up in lists: see policies */
#define MSS_AUTO 0xffff

enum mode {
	MODE_NAT = 0,  /* both addresses translated */
	MODE_KEEP = 1, /* the destination translated, the client's address kept */
	MODE_DSR = 2,
	MODE_IPIP = 3,
	MODE_GUE = 4, /* variant 0 */
	MODE_FOU = 5, /* GUE variant 1: the inner packet right after the UDP header */
};

/* What of a packet picks its slot */
enum flow_hash {
	HASH_TUPLE = 0,
	HASH_SOURCE = 1,
	HASH_SOURCE_DESTINATION = 2,
};

/* What becomes of a packet that no backend takes */
enum on_empty {
	EMPTY_DROP = 0,
	EMPTY_RESET = 1,       /* TCP: RST; else as unreachable */
	EMPTY_UNREACHABLE = 2, /* ICMP: port unreachable */
	EMPTY_PROHIBITED = 3,  /* ICMP: administratively prohibited */
};

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
	__u16 port;    /* network order; 0 = the packet's own */
	__u16 flags;   /* BACKEND_* */
	__u32 ifindex; /* next hop, from the kernel's routes and neighbours; 0 = unresolved */
	__u8 source_mac[6];
	__u8 destination_mac[6];
	__u16 service;
	__u16 mtu;     /* of the way out, 0 = not checked */
	struct address outer_source; /* ENCAP: own address towards it */
	__u16 vlan;    /* tag of the way out, 0 = none */
	__u16 reserved_half;
	__u32 reserved;
};                     /* 64 bytes */
#define BACKEND_KEEP 1  /* flows that have an entry stay here; without it their entries are invalid (CUT) */
#define BACKEND_RESET 2 /* flows that have an entry are answered by RST, in both directions, and closed */
#define BACKEND_ELIGIBLE 4 /* new flows may come here */
#define BACKEND_HERE 8  /* an address of this host: its packets are passed up */
#define BACKEND_LISTED 64 /* its service is SERVICE_LISTED */

/* flow_table[hash & flow_mask]: flows of DSR and ENCAP services that a change put at risk, or all of them (SERVICE_TRACK_ALL). Shared
 * between CPUs without a lock: `word` is stored whole and decides, the rest is advisory. Up to three entries of one tuple are ways. */
struct flow_entry {
	__u64 word;     /* tag:48 | backend:16 from the top bit down, 0 = empty; the tag's upper 32 bits picked the flow's slot */
	__u32 sequence; /* the client's next one, as far as it is known */
	__u16 stamp;    /* low bits of the second of the last packet */
	__u8 state;     /* enum tracked_state */
	__u8 rank;      /* among the ways of its tuple: 0 is protected from SYNs most, RANK_LAST not at all */
};                      /* 16 bytes */
struct flow_bucket {
	struct flow_entry entry[4];
}; /* 64 bytes */
#define RANK_LAST 2

enum tracked_state {
	TRACKED_NONE = 0,
	TRACKED_SYN = 1,    /* by a SYN, unconfirmed */
	TRACKED_LIVE = 2,
	TRACKED_FIN = 3,
	TRACKED_RST = 4,
	TRACKED_UDP = 5,    /* in more than one second */
	TRACKED_PINNED = 6, /* by one packet of a flow that had no entry, or UDP in one second only: unconfirmed */
	TRACKED_LASTING = 7, /* TRACKED_LIVE, and spoke again in a later second: a flood of pairs does not */
};

/* interfaces[ifindex modulo INTERFACE_PLACES]: each interface that the program is attached to, written before the link is made. Frames
 * for another MAC are other stations'; answers to broadcast and multicast requests are sent from this one. */
struct interface {
	__u32 ifindex; /* 0 = none */
	__u8 mac[6];
	__u8 reserved[6];
}; /* 16 bytes */
#define INTERFACE_PLACES 1024

/* A way out as one number: vlan:12 | interface:20 from the top bit down; VLAN 0 = no tag, OUT_DEVICE = the interface is a VLAN device, and
 * its tags, others than a single one of 802.1Q, are looked up when a packet leaves */
#define OUT(interface, vlan) ((interface) | (__u32)(vlan) << OUT_VLAN_SHIFT)
#define OUT_VLAN_SHIFT 20
#define OUT_INTERFACE ((1 << OUT_VLAN_SHIFT) - 1)
#define OUT_DEVICE 0xfff

/* vlans[place by ifindex and key, or one of the next]: VLAN devices by the device that they are on and VLAN, with VLAN_SERVICE when it is
 * one of 802.1ad; and the interfaces that carry them by VLAN device and VLAN_DEVICE, with the tags, numbered in the same way */
struct vlan {
	__u32 ifindex; /* 0 = empty */
	__u16 key;
	__u16 tag;     /* the only one, or the outer one */
	__u32 other;   /* ifindex of the VLAN device, or of the interface */
	__u16 inner;   /* second tag, 0 = none */
	__u16 mtu;     /* of packets that the interface carries beside two tags, 0 = not checked */
}; /* 16 bytes */
#define TAG_BYTES 4 /* in a frame */
#define VLAN_SERVICE 0x1000
#define VLAN_DEVICE 0xffff
#define VLAN_PLACES 4096
#define VLAN_TRIES 16
#define VLAN_MIX 0x9e3779b1U

/* port_full[hash of backend and SNAT address]: until when (1/16 seconds) new flows there are refused without a search,
 * unless one look finds a free port */
#define PORT_FULL_PLACES 4096

/* tails: prog_array, filled before the program is attached, pinned with it, never changed in place */
#define TAIL_ICMP 0
#define TAIL_ODD 1
#define TAIL_NAT_NEW 2
#define TAIL_ANSWER 3
#define TAIL_CAPTURE 4
#define TAIL_LATER 5
#define TAIL_NAT_PORT 6
#define TAIL_TAGS 7
#define TAILS 8

#endif
