/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent and the program for probes of VIPs tell each other: the structures, as in types.h. */
#ifndef L4LB_PROBE_TYPES_H
#define L4LB_PROBE_TYPES_H

/* Names a socket of the agent */
struct probe_key {
	__u16 port; /* network order: the socket's own */
	__u8 protocol;
	__u8 family; /* 4 or 6 */
};

/* probes[key]: written before the socket sends anything, taken out when its probe has ended */
struct probe {
	__u32 service; /* index in services[] */
	__u32 backend; /* id of the one that is probed */
	__u32 packets; /* that came */
	__u32 outcome; /* how the last of them ended: OUTCOME() */
}; /* 16 bytes */
#define PROBES 256 /* at once */

#endif
