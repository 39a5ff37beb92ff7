/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs know of the packet at hand. One per CPU: it survives tail calls and keeps keys and values off the 512-byte stack. */
#ifndef L4LB_SCRATCH_H
#define L4LB_SCRATCH_H

/* Addresses and ports of a packet */
struct tuple {
	struct address source;
	struct address destination;
	__u16 source_port;      /* network order */
	__u16 destination_port; /* network order */
	__u8 protocol;
	__u8 reserved[3];
};

/* What the answer tail has to do */
enum answer {
	ANSWER_RST,       /* within the RST budget */
	ANSWER_DRAIN_RST, /* beyond it: one for each flow of a drain */
	ANSWER_EMPTY_RST, /* no backend: as the service says, within the RST budget */
	ANSWER_UNREACHABLE, /* no backend: ICMP within its budget, port unreachable */
	ANSWER_PROHIBITED,  /* or administratively prohibited */
	ANSWER_ARP,
	ANSWER_NEIGHBOUR,
	ANSWER_TOO_BIG, /* within a budget of its own */
};

/* What the flow table's bucket holds of the packet's tuple: live entries only. In the scratch, not on the stack, because there the verifier
 * follows no values: it walks each entry once instead of every combination of all. */
struct ways {
	__u32 distance; /* of the nearest to the packet's sequence */
	__u8 near;      /* index of the nearest, or NO_WAY */
	__u8 same;      /* of the one that this very SYN made, or NO_WAY */
	__u16 backend;  /* of the packet */
	__u8 mine;      /* a bit for each */
	__u8 count;
	bool first;     /* one is of rank 1: the first that a SYN has made */
	bool elsewhere; /* one names another backend than `now` */
	__u8 place;     /* of the entry to write into, or NO_WAY */
	__u32 worth;    /* of giving that one up */
	__u32 own;      /* worth:30 | index:2 of the one that another of the tuple may replace when there are MOST_WAYS, 0 = none */
	__u32 other;    /* the same of the one that goes rather than a single one of RANK_LAST */
};

/* Where the token bucket of a prefix is in its line */
struct limit_place {
	__u64 least; /* of what is taken from those that could be given up; 0 = the prefix's own */
	__u32 place;
};

/* The flow without an answer that gives up its port to a new one */
struct giver {
	__u32 id;    /* of its record, 0 = none */
	__u32 age;   /* 1/16 seconds */
	__u32 looks; /* at flows without an answer */
};

/* What `affinity` holds of the client, and where an entry of its goes */
struct affinity {
	__u64 entry;   /* 0 = none */
	__u64 tag;
	__u32 bucket;
	__u32 place;   /* in it */
	__u32 worth;   /* of writing there */
	__u32 seconds; /* that one lives */
};

#define NO_WAY 4 /* index of none */

#define TRANSPORT_MASK 0x1ff
#define SUM_BYTES 512 /* the most that one bpf_csum_diff() takes */

/* Which part of its datagram a packet is */
enum part {
	PART_WHOLE,
	PART_FIRST,
	PART_LATER,
};

/* A fragment, and what the table of fragments knows of its datagram */
struct piece {
	__u64 tag;            /* 48 bits that the table knows the datagram by */
	__u32 identification; /* as it came */
	__u32 bucket;
	__u16 offset;         /* bytes of the datagram before it */
	__u16 bytes;          /* of the datagram that it brings */
	__u16 renamed;        /* what NAT makes of the identification of an IPv4 datagram */
	__u16 backend;        /* of the datagram's first fragment */
	__s32 age;            /* of the entry that makes room, 1/16 seconds */
	__u8 more;            /* it is not the last */
	__u8 place;           /* of the datagram's entry, or NO_PLACE */
};

/* How far options or extension headers are read. In the scratch, and volatile, because there the verifier follows no values: it walks each
 * step once instead of every combination of all before. */
struct walk {
	volatile __u16 at;     /* in scratch.block: option or header at hand */
	volatile __u16 option; /* in scratch.block: the header's option at hand */
	volatile __u8 kind;    /* of the header at hand */
	volatile __u8 seen;    /* SEEN_* */
};

struct scratch {
	struct tuple tuple;        /* as the packet came */
	struct tuple becomes;      /* what translation makes of it */
	struct tuple old;          /* of a flow that has to go */
	__u64 hash;                /* of the client's tuple */
	struct bpf_fib_lookup route;
	struct ways ways;
	struct limit_place limit;
	struct list_key list_key;
	struct piece piece;
	struct walk walk;
	struct affinity affinity;
	struct giver giver;
	__u64 word;                /* of the service, as read */
	union {
		__u64 known;               /* zero at the beginning */
		struct {
			__u32 service;     /* index in services[] */
			__u16 backend;     /* id of the one it goes to or comes from */
			__u8 family;       /* 4 or 6 */
		};
	};
	__u32 place;               /* in vlans[] */
	__u32 out;                 /* OUT() */
	__u32 way_mtu;             /* of an interface that is a way back, as the kernel says */
	__u32 device;              /* with tag_in: the interface or the VLAN device that the frame is for */
	__u32 inner_in;            /* with tag_in: TAG_PRESENT and the second tag, 0 = none */
	union {
		__u64 tags; /* 0 = neither */
		struct {
			__u32 tag_in;  /* TAG_PRESENT and the tag with which the frame came, the outer one of two, 0 = none */
			__u32 tag_out; /* the same of its way out, or TAG_DEVICE */
		};
	};
	__u8 block[SUM_BYTES + 4]; /* part of a message that is being summed, filled up to whole words */
	__u32 received_bytes;      /* of the frame, tags included */
	__u32 frame_bytes;         /* without tags, until something is done to the packet */
	__u32 l3_bytes;            /* by the IP header, which link-layer padding does not change */
	__u32 segment;             /* TCP: sequence numbers that it takes, SYN and FIN included */
	__u32 sequence;            /* host order */
	__u32 acknowledgement;     /* host order */
	__u32 now;                 /* second */
	__u32 outcome;             /* how the packet ends */
	__u32 owned_flags;         /* ADDRESS_* of the destination */
	__u16 option;              /* offset in `block` of the TCP option at hand */
	__u16 chosen;              /* backend at which a new flow found no port */
	__u16 mtu;                 /* of the way that the packet is too long for, outer headers taken off */
	__u8 tcp_flags;
	__u8 ttl;                  /* or hop limit */
	__u8 answer;               /* enum answer */
	__u8 refused;              /* why the packet may not pass or start a flow, 0 = it may */
	__u16 transport;           /* offset in the frame of the transport header: at most TRANSPORT_MASK, by which the verifier knows */
	__u16 quoted;              /* offset in the frame of the transport header that an ICMP error quotes */
	__u16 payload;             /* sum over the whole IP packet, one hop later */
	__u8 part;                 /* enum part */
	bool summed;               /* `payload` is known */
	bool recording;            /* IPv4 options or IPv6 extension headers of kinds that translation would falsify */
	__u8 best;                 /* slot of `unanswered` */
	__u8 empty;                /* slot of `unanswered` */
	__u32 index_place;         /* of an entry in flow_index */
	bool claimed;
	bool recorded;             /* the recorder takes the packet */
	__u8 races;                /* that the packet has lost */
	__u32 best_age;            /* of the flow in it, 1/16 seconds */
	__u32 flow_id;             /* of the record at hand */
	__u32 flow_word;           /* its word, as read */
};

/* How a packet ends: its reason and its verdict, carried as one number up to finish() */
#define OUTCOME(reason, verdict) ((reason) << 3 | (verdict))
#define DROP(reason) OUTCOME(reason, XDP_DROP)
#define PASS(reason) OUTCOME(reason, XDP_PASS)

#endif
