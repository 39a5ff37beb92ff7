/* SPDX-License-Identifier: Apache-2.0 */
/* Why a packet ended as it did. Every packet ends in exactly one of these, counted at one place (finish.h). The list exists here;
 * model/reasons.py, proto/l4lb/v1/reason.proto and docs/reasons.md mirror it and tests/law compares all four. Numbers are never reused. */
#ifndef L4LB_REASONS_H
#define L4LB_REASONS_H

enum reason {
	REASON_UNSPECIFIED = 0,          /* never counted; a packet here is a bug */
	/* passed to the host, untouched */
	REASON_NOT_IP = 1,               /* neither IPv4 nor IPv6, nor ARP for an owned address */
	REASON_FOREIGN = 2,              /* the destination is not an owned address, or a neighbour solicitation was another station's */
	REASON_LOCAL = 3,                /* for an owned address that is also this host's, and nothing of ours */
	/* forwarded */
	REASON_FLOW_CREATED = 10,        /* first packet of a new flow, to its backend */
	REASON_TO_BACKEND = 11,          /* packet of a known flow, to its backend */
	REASON_TO_CLIENT = 12,           /* reply, to the client */
	REASON_ICMP_TO_BACKEND = 13,     /* ICMP error that quotes a flow's packet to the client, to its backend */
	REASON_ICMP_TO_CLIENT = 14,      /* ICMP error that quotes a flow's packet to the backend, to its client */
	/* answered by the datapath itself */
	REASON_ARP_ANSWERED = 20,
	REASON_NEIGHBOUR_ANSWERED = 21,  /* IPv6 neighbour solicitation */
	REASON_RST_ANSWERED = 22,        /* no flow for a TCP packet that is not a SYN */
	REASON_DRAIN_RESET = 23,         /* RST for a flow whose drain ended with RESET */
	REASON_ECHO_ANSWERED = 24,       /* echo request for a VIP */
	REASON_TOO_BIG_ANSWERED = 27,    /* longer than the MTU of the way out, and its sender is told */
	REASON_NO_BACKEND_ANSWERED = 28, /* as NO_BACKEND, and the client was told by RST or ICMP */
	/* dropped */
	REASON_MALFORMED = 30,           /* a header ended where it had to be rewritten: cannot be */
	REASON_IP_OPTIONS = 31,          /* IPv4 options or IPv6 extension headers that cannot be taken along, or any with ICMP */
	REASON_FRAGMENT = 32,            /* a later fragment whose first one is not known */
	REASON_TTL_EXCEEDED = 33,        /* TTL or hop limit would reach zero */
	REASON_PROTOCOL_UNSUPPORTED = 34, /* neither TCP nor UDP nor ICMP */
	REASON_ICMP_UNSUPPORTED = 35,    /* ICMP for an owned address, neither an error nor an echo request */
	REASON_NO_SERVICE = 36,          /* a VIP's port without a service */
	REASON_NO_BACKEND = 37,          /* the service has no backend for new flows */
	REASON_BACKEND_UNRESOLVED = 38,  /* next hop of the flow's backend is not known */
	REASON_RST_LIMITED = 39,         /* no flow for a TCP packet that is not a SYN, and no RST left to spend */
	REASON_NO_FLOW = 40,             /* for a SNAT address, and no flow has that port; or a RST without flow */
	REASON_NO_SOURCE_PORT = 41,      /* no SNAT port found for the backend */
	REASON_NO_SNAT_ADDRESS = 42,     /* no SNAT address of the family is configured */
	REASON_FLOW_TABLE_FULL = 43,
	REASON_MTU_EXCEEDED = 44,        /* longer than the MTU of the way out, and nobody can be told */
	REASON_TAIL_CALL_FAILED = 45,
	REASON_FLOW_CUT = 46,            /* flow of a backend whose drain ended with CUT */
	REASON_CLOSED = 47,              /* SYN on a closing flow whose sequence is not newer: a late duplicate */
	REASON_ICMP_MALFORMED = 50,      /* ICMP whose lengths, quoted packet or (echo) checksum cannot be */
	REASON_ICMP_FRAGMENT = 51,       /* a fragment of ICMP */
	REASON_ICMP_NO_FLOW = 52,        /* ICMP error that quotes no live flow, or no ports */
	REASON_ICMP_MTU_TOO_SMALL = 53,  /* packet too big, for an MTU that no link may have */
	REASON_ECHO_REFUSED = 54,        /* echo request for an address that does not answer any now */
	REASON_ECHO_LIMITED = 55,        /* echo request, and no answer left to spend */
	REASON_VERSION_WRONG = 56,       /* an IP version that the EtherType does not have, or an IPv4 header shorter than it can be */
	REASON_LENGTH_WRONG = 57,        /* a length beyond what is there, or below what must be */
	REASON_CHECKSUM_WRONG = 58,      /* of the IPv4 header; or none, of UDP over IPv6 */
	REASON_TCP_OFFSET_WRONG = 59,    /* a TCP header shorter than it can be, or longer than the segment */
	REASON_TCP_FLAGS_WRONG = 60,     /* flags that no TCP sends together, or none */
	REASON_SOURCE_MARTIAN = 61,      /* a source that no host on a network has */
	REASON_SOURCE_OWNED = 62,        /* the source is a VIP or a SNAT address */
	REASON_FRAME_FOREIGN = 63,       /* the frame was for another station or for many, or from a group address */
	REASON_NO_BACKEND_LIMITED = 64,  /* as NO_BACKEND_ANSWERED, and no answer left to spend */
	REASON_NEW_FLOWS_LIMITED = 68,   /* would start a flow beyond the service's limit */
	REASON_SOURCE_LIMITED = 69,      /* would start a flow beyond the limit of its source's prefix */
	REASON_DENIED = 70,              /* the service's deny list has the client */
	REASON_NOT_ALLOWED = 71,         /* the service has an allow list, without the client */
	REASON_NO_HEADROOM = 72,         /* no room before the packet for an outer header */
	REASON_CLIENT_PORT_TAKEN = 80,   /* the client's kept address and port have another flow at the backend */
	REASON_CLIENT_IS_BACKEND = 81,   /* would start a flow whose kept address is itself a backend's */
	REASON_NOT_A_REPLY = 82,         /* passed: from a backend that answers through here, and of no flow */
	REASON_VLAN_FOREIGN = 84,        /* passed: the tag of a VLAN that this host is not in */
	REASON_VLAN_STACKED = 85,        /* passed: more than two tags */
	REASON_TOO_BIG_LIMITED = 87,     /* longer than the MTU of the way out, and no answer left to spend */
	REASON_SOURCE_ROUTED = 90,       /* IPv4 source route, IPv6 routing header of type 0 or not at its end */
	REASON_OPTIONS_WRONG = 91,       /* lengths of options or extension headers that cannot be */
	REASON_HEADER_ORDER = 92,        /* an extension header where it may not be, or once more */
	REASON_HEADERS_TOO_MANY = 93,    /* more or longer extension headers than are walked */
	REASON_FRAGMENT_TINY = 94,       /* a first fragment without its whole headers */
	REASON_FRAGMENT_OVERLAP = 95,    /* a fragment of what another one has brought */
	REASON_FRAGMENT_WRONG = 96,      /* a fragment whose length or place cannot be */
	REASONS = 128,
};

#endif
