/* SPDX-License-Identifier: Apache-2.0 */
/* The structures of captures (capture.h), as in types.h. */
#ifndef L4LB_CAPTURE_TYPES_H
#define L4LB_CAPTURE_TYPES_H

/* capture_switch[0]: what is asked for by any capture; the datapath itself clears it when every one has expired */
struct capture_switch {
	__u64 flags;
};
#define CAPTURE_DROPS 1 /* packets that are dropped */
#define CAPTURE_ALL 2   /* any packet */

/* captures[slot]: whose packets a capture takes. A filter looks at the packet as it came. */
struct capture {
	__u64 reasons[2];       /* a bit for each reason */
	struct address address; /* source or destination, under the mask */
	struct address mask;
	__u32 until;    /* second in which it expires: its asker says again and again that it is still there */
	__u32 service;  /* 0 = any */
	__u32 ifindex;  /* 0 = any */
	__u32 rate;     /* packets a second for each reason and CPU */
	__u16 port;     /* network order, source or destination; 0 = any */
	__u8 protocol;  /* 0 = any */
	__u8 verdicts;  /* a bit for each verdict */
	__u8 filters_address;
	__u8 reserved[11];
}; /* 80 bytes */
#define CAPTURES 4

/* capture_budgets[slot * REASONS + reason]: per CPU */
struct capture_budget {
	struct budget budget;
	__u64 limited; /* packets beyond the rate */
	__u64 lost;    /* packets for which the ring buffer had no room */
};

/* A record in the ring buffer; only came_bytes + left_bytes of data are there */
#define CAPTURE_BYTES 2048
struct captured {
	__u64 nanoseconds; /* CLOCK_MONOTONIC */
	__u32 ifindex;     /* where it came in */
	__u32 frame_bytes;
	__u32 left_frame_bytes;
	__u32 service; /* 0 = none */
	__u32 outcome; /* reason * 8 + verdict */
	__u16 backend; /* 0 = none */
	__u16 takers;  /* a bit for each capture that wants it */
	__u32 came_bytes; /* of the packet as it came */
	__u32 left_bytes; /* of the packet as it left: none when it was dropped */
	__u8 data[2 * CAPTURE_BYTES];
};

#endif
