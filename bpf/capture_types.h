/* SPDX-License-Identifier: Apache-2.0 */
/* The structures of captures (capture.h), as in types.h. */
#ifndef L4LB_CAPTURE_TYPES_H
#define L4LB_CAPTURE_TYPES_H

/* capture_switch[0]: what is asked for by any capture or by the recorder; the datapath itself clears the flags when all have expired */
struct capture_switch {
	__u32 flags;
	__u32 recorder_until; /* second in which the recorder's wish expires, as a capture's does */
};
#define CAPTURE_DROPS 1  /* packets that are dropped */
#define CAPTURE_ALL 2    /* any packet */
#define CAPTURE_RECORD 4 /* packets that are dropped, for the recorder and within its rate */

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

/* recorder_budgets[reason]: the same of the recorder, which keeps the last drops of each reason all the time. Its rate is for each reason
 * and CPU, and so low that what a flood pays for being recorded is the look at this. */
#define RECORDER_RATE 1
#define RECORDER_BURST 8
#define RECORDER_BYTES 256 /* of a frame: its headers */
#define RECORDER 4         /* its bit among the takers, after those of the captures */

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
	__u16 takers;  /* a bit for each capture that wants it, and the recorder's */
	__u32 came_bytes; /* of the packet as it came */
	__u32 left_bytes; /* of the packet as it left: none when it was dropped */
	__u8 data[2 * CAPTURE_BYTES];
};

#endif
