/* SPDX-License-Identifier: Apache-2.0 */
/* Headers as they are on the wire. Multi-byte fields are in network order. */
#ifndef L4LB_PACKET_H
#define L4LB_PACKET_H

#define ntohs(x) __builtin_bswap16(x)
#define htons(x) __builtin_bswap16(x)
#define ntohl(x) __builtin_bswap32(x)
#define htonl(x) __builtin_bswap32(x)

struct ethernet {
	__u8 destination[6];
	__u8 source[6];
	__u16 type;
};
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_SERVICE_VLAN 0x88a8

/* With an 802.1Q tag */
struct tagged {
	__u8 destination[6];
	__u8 source[6];
	__u16 type;
	__u16 tag; /* priority:3 | drop eligible:1 | VLAN:12 */
	__u16 next_type;
};

/* With three tags */
struct tagged_thrice {
	__u8 destination[6];
	__u8 source[6];
	struct {
		__u16 type;
		__u16 tag;
	} tag[3];
};

struct ipv4 {
	__u8 version_length; /* 4 bits each; the length in words of 4 bytes */
	__u8 service;
	__u16 length;
	__u16 identification;
	__u16 fragment; /* flags and offset */
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 destination;
};
#define IPV4_DONT_FRAGMENT 0x4000
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_MASK 0x3fff /* more fragments, offset */
#define IPV4_OFFSET_MASK 0x1fff

struct ipv6 {
	__u32 version_class_flow;
	__u16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__u32 source[4];
	__u32 destination[4];
};

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AH 51
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_DESTINATION_OPTIONS 60
#define PROTOCOL_MOBILITY 135
#define PROTOCOL_HIP 139
#define PROTOCOL_SHIM6 140

struct tcp {
	__u16 source;
	__u16 destination;
	__u32 sequence;
	__u32 acknowledgement;
	__u8 offset; /* upper 4 bits: header length in words of 4 bytes */
	__u8 flags;
	__u16 window;
	__u16 checksum;
	__u16 urgent;
};
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_URG 0x20
#define TCP_OPTIONS_END 0
#define TCP_OPTION_NONE 1
#define TCP_OPTION_MSS 2
#define TCP_MSS_BYTES 4
#define TCP_MOST_OPTIONS 40 /* bytes */

struct udp {
	__u16 source;
	__u16 destination;
	__u16 length;
	__u16 checksum;
};

/* ICMP and ICMPv6 (RFC 792, RFC 4443) */
struct icmp {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u16 word[2]; /* echo: identifier and sequence; packet too big: the MTU, in IPv4 the second word only */
};
#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_CODE_PORT 3
#define ICMP_CODE_FRAGMENTATION_NEEDED 4
#define ICMP_CODE_PROHIBITED 13 /* RFC 1812 5.2.7.1 */
#define ICMP_ECHO_REQUEST 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_CODE_PROHIBITED 1
#define ICMPV6_CODE_PORT 4
#define ICMPV6_PACKET_TOO_BIG 2
#define ICMPV6_TIME_EXCEEDED 3
#define ICMPV6_PARAMETER_PROBLEM 4
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

/* What all IPv6 extension headers begin with (RFC 8200 4, RFC 4302) */
struct extension {
	__u8 next_header;
	__u8 length;        /* beyond the first unit of 8 bytes; AH: beyond two units of 4; fragment: reserved */
	__u8 type;          /* routing */
	__u8 segments_left; /* routing */
	__u32 more;
};

/* A fragment header's offset and flag (RFC 8200 4.5) */
struct fragment {
	__u8 next_header;
	__u8 reserved;
	__u16 offset; /* upper 13 bits, in units of 8 bytes */
	__u32 identification;
};
#define IPV6_OFFSET_MASK 0xfff8

/* ARP for IPv4 over Ethernet (RFC 826) */
struct arp {
	__u16 hardware;
	__u16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__u16 operation;
	__u8 sender_mac[6];
	__u16 sender[2]; /* IPv4 addresses are not aligned here */
	__u8 target_mac[6];
	__u16 target[2];
};
#define ARP_REQUEST 1
#define ARP_REPLY 2

/* Neighbour solicitation or advertisement with one link-layer option (RFC 4861 4.3, 4.4) */
struct neighbour {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u32 flags;
	__u32 target[4];
	__u8 option;
	__u8 option_length; /* in units of 8 bytes */
	__u8 option_mac[6];
};
#define NEIGHBOUR_SOLICITATION 135
#define NEIGHBOUR_ADVERTISEMENT 136
#define NEIGHBOUR_SOLICITED 0x40000000
#define NEIGHBOUR_OVERRIDE 0x20000000
#define OPTION_TARGET_LINK_LAYER 2
#define SOLICITATION_BYTES 24 /* without options */

#define IP_OFFSET 14
#define IPV4_BYTES 20
#define IPV6_BYTES 40
#define TCP_BYTES 20
#define UDP_BYTES 8
#define ICMP_BYTES 8
#define EXTENSION_BYTES 8 /* at least */

/* bpf_xdp_load_bytes(), which BCC does not declare */
#define load_bytes ((long (*)(struct xdp_md *, __u32, void *, __u32))BPF_FUNC_xdp_load_bytes)

/* The bytes [offset, offset + size) of the frame, or NULL when it is shorter. */
static __always_inline void *bytes_at(struct xdp_md *ctx, __u32 offset, __u32 size)
{
	void *start = (void *)(long)ctx->data + offset;

	return start + size <= (void *)(long)ctx->data_end ? start : NULL;
}

typedef __u16 __attribute__((may_alias)) half;
typedef __u32 __attribute__((may_alias)) word;
typedef __u64 __attribute__((may_alias)) twice;

/* Wider than the bytes are aligned: the kernel allows it wherever the machine does */
static __always_inline void copy_mac(__u8 *to, const __u8 *from)
{
	*(word *)to = *(const word *)from;
	((half *)to)[2] = ((const half *)from)[2];
}

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	const half *x = (const half *)a, *y = (const half *)b;

	return !((*(const word *)a ^ *(const word *)b) | (x[2] ^ y[2]));
}

static __always_inline void copy_address(struct address *to, const struct address *from)
{
	twice *x = (twice *)to;
	const twice *y = (const twice *)from;

	x[0] = y[0];
	x[1] = y[1];
}

static __always_inline bool same_address(const struct address *a, const struct address *b)
{
	const twice *x = (const twice *)a, *y = (const twice *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]));
}

static __always_inline void mapped_address(struct address *to, __u32 ipv4)
{
	twice *x = (twice *)to;

	x[0] = 0;
	x[1] = (__u64)ipv4 << 32 | htonl(0xffff);
}

static __always_inline bool is_mapped(const struct address *a)
{
	return !(a->word[0] | a->word[1] | (a->word[2] ^ htonl(0xffff)));
}

#endif
