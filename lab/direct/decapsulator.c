/* SPDX-License-Identifier: Apache-2.0 */
/* Takes the outer header off what is encapsulated for a backend whose kernel cannot: IPIP in all four pairs of families, GUE variant 0
 * (draft-ietf-intarea-gue, header without optional fields) and variant 1 (the inner packet follows UDP at once). The inner packet goes on
 * into the backend's own stack, everything else passes untouched. Headers of the datapath's folder; docs/backends.md tells the rules. */
struct address {
	__u32 word[4]; /* network order; IPv4 as ::ffff:a.b.c.d */
};

#include "packet.h"
#include "checksum.h"

/* Whose packets: own[0] */
struct own {
	struct address v4, v6;
	__u16 port; /* of GUE, network order */
};

/* counts[], in the order of decapsulator.py */
enum outcome {
	DECAP_NOT_ENCAPSULATED, /* passed untouched */
	DECAP_IPIP,
	DECAP_GUE,
	DECAP_FOU,
	DECAP_BAD_HEADER,
	DECAP_BAD_LENGTH,
	DECAP_BAD_CHECKSUM,
	DECAP_OUTCOMES,
};

#define PROTOCOL_IPV4 4
#define PROTOCOL_IPV6 41
#define GUE_BYTES 4
#define SUMMED_BYTES 4096 /* no frame that native XDP gets is longer */

struct copy {
	__u32 word[SUMMED_BYTES / 4];
};

BPF_ARRAY(own, struct own, 1);
BPF_PERCPU_ARRAY(counts, __u64, DECAP_OUTCOMES);
BPF_PERCPU_ARRAY(copy, struct copy, 1);

struct outer {
	__u32 bytes;    /* of the IP header */
	__u32 length;   /* of what follows it */
	__u32 protocol; /* of that */
	__u64 addresses; /* their sum, for the checksum of UDP */
};

/* Sum of the bytes [offset, offset + length) of the frame, which has them: 1 to SUMMED_BYTES. By way of a copy that ends with zeros: a loop
 * over the packet itself has as many ends as lengths, and the verifier would follow each of them through the rest of the program. */
static __always_inline __u64 sum_bytes(struct xdp_md *ctx, __u32 offset, __u32 length)
{
	__u32 at, zero = 0;
	struct copy *c = copy.lookup(&zero);
	__u64 sum = 0;

	if (!c)
		return 0;
	for (at = 0; at < SUMMED_BYTES / 4; at++)
		*(volatile __u32 *)&c->word[at] = 0; /* volatile: or the compiler makes a memset() of it, which BPF has not */
	/* The bounds are told again where they are needed, and not before: a kernel (6.1) forgets them in between */
	asm volatile("" : "+r"(length));
	length = ((length - 1) & (SUMMED_BYTES - 1)) + 1;
	if (bpf_xdp_load_bytes(ctx, offset, c->word, length))
		return 0;
	for (at = 0; at < SUMMED_BYTES / 4; at++)
		sum += c->word[at];
	return sum;
}

/* Reads an outer header without options that is whole and addressed to `own`; false for all others */
static __always_inline bool read_outer_ipv4(struct xdp_md *ctx, const struct own *o, struct outer *outer)
{
	const struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);
	struct address to;

	if (!ip || ip->version_length != 0x45 || ip->fragment & htons(IPV4_FRAGMENT_MASK))
		return false;
	mapped_address(&to, ip->destination);
	outer->bytes = IPV4_BYTES;
	outer->length = ntohs(ip->length) - IPV4_BYTES;
	outer->protocol = ip->protocol;
	outer->addresses = (__u64)ip->source + ip->destination;
	return same_address(&to, &o->v4);
}

static __always_inline bool read_outer_ipv6(struct xdp_md *ctx, const struct own *o, struct outer *outer)
{
	const struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	if (!ip || ntohl(ip->version_class_flow) >> 28 != 6)
		return false;
	outer->bytes = IPV6_BYTES;
	outer->length = ntohs(ip->payload_length);
	outer->protocol = ip->next_header;
	outer->addresses = address_sum((const struct address *)ip->source) + address_sum((const struct address *)ip->destination);
	return same_address((const struct address *)ip->destination, &o->v6);
}

static __always_inline bool ipv4_checksum_holds(struct xdp_md *ctx)
{
	const __u16 *word = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);
	__u64 sum = 0;
	__u32 at;

	for (at = 0; word && at < IPV4_BYTES / 2; at++)
		sum += word[at];
	return fold(sum) == 0xffff;
}

/* What must hold of an outer header once it is known to be one: its checksum (IPv4), and that the frame has all it promises */
static __always_inline enum outcome check_outer(struct xdp_md *ctx, const struct outer *outer)
{
	if (outer->length > SUMMED_BYTES || IP_OFFSET + outer->bytes + outer->length > bpf_xdp_get_buff_len(ctx))
		return DECAP_BAD_LENGTH;
	return outer->bytes == IPV4_BYTES && !ipv4_checksum_holds(ctx) ? DECAP_BAD_CHECKSUM : 0;
}

/* UDP from the port on. A checksum of zero is none: allowed over IPv6 too, for tunnels (RFC 6935) */
static __always_inline enum outcome check_udp(struct xdp_md *ctx, const struct outer *outer, const struct udp *udp)
{
	__u64 sum = outer->addresses + htons(PROTOCOL_UDP) + htons(outer->length);

	if (ntohs(udp->length) != outer->length || outer->length < UDP_BYTES)
		return DECAP_BAD_LENGTH;
	if (udp->checksum && fold(sum + sum_bytes(ctx, IP_OFFSET + outer->bytes, outer->length)) != 0xffff)
		return DECAP_BAD_CHECKSUM;
	return 0;
}

/* The inner packet at `offset` fills what is left of the outer one and is of the family that `protocol` says (0: either). Returns its
 * EtherType, or 0 with the reason in `refused`. */
static __always_inline __u16 inner_type(struct xdp_md *ctx, __u32 offset, __u32 length, __u32 protocol, enum outcome *refused)
{
	const __u8 *first = bytes_at(ctx, offset, IPV4_BYTES);
	__u32 version = first ? first[0] >> 4 : 0;

	*refused = DECAP_BAD_HEADER;
	if (version == 4 && protocol != PROTOCOL_IPV6) {
		const struct ipv4 *ip = (const struct ipv4 *)first;

		*refused = DECAP_BAD_LENGTH;
		return ntohs(ip->length) == length ? htons(ETHERTYPE_IPV4) : 0;
	}
	if (version == 6 && protocol != PROTOCOL_IPV4) {
		const struct ipv6 *ip = bytes_at(ctx, offset, IPV6_BYTES);

		*refused = DECAP_BAD_LENGTH;
		return ip && IPV6_BYTES + ntohs(ip->payload_length) == length ? htons(ETHERTYPE_IPV6) : 0;
	}
	return 0;
}

/* Removes `bytes` after the Ethernet header, whose addresses stay */
static __always_inline bool strip(struct xdp_md *ctx, __u32 bytes, __u16 type)
{
	struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));
	struct ethernet old;

	if (!frame)
		return false;
	copy_mac(old.destination, frame->destination);
	copy_mac(old.source, frame->source);
	if (bpf_xdp_adjust_head(ctx, bytes))
		return false;
	frame = bytes_at(ctx, 0, sizeof(*frame));
	if (!frame)
		return false;
	copy_mac(frame->destination, old.destination);
	copy_mac(frame->source, old.source);
	frame->type = type;
	return true;
}

/* What is inside `skipped` bytes after the outer IP header */
static __always_inline enum outcome unwrap(
	struct xdp_md *ctx, const struct outer *outer, __u32 skipped, __u32 protocol, enum outcome kind)
{
	__u32 bytes = outer->bytes + skipped;
	enum outcome refused = DECAP_BAD_LENGTH;
	__u16 type;

	if (outer->length < skipped)
		return DECAP_BAD_LENGTH;
	type = inner_type(ctx, IP_OFFSET + bytes, outer->length - skipped, protocol, &refused);
	if (!type)
		return refused;
	return strip(ctx, bytes, type) ? kind : DECAP_BAD_LENGTH;
}

static __always_inline enum outcome unwrap_udp(struct xdp_md *ctx, const struct own *o, const struct outer *outer)
{
	const struct udp *udp = bytes_at(ctx, IP_OFFSET + outer->bytes, UDP_BYTES + GUE_BYTES);
	const __u8 *gue = (const __u8 *)(udp + 1);
	enum outcome refused;

	if (!udp || udp->destination != o->port)
		return DECAP_NOT_ENCAPSULATED;
	refused = check_outer(ctx, outer);
	if (!refused)
		refused = check_udp(ctx, outer, udp);
	if (refused)
		return refused;
	if (gue[0] >> 6 == 1) /* an IP header's first two bits say variant 1 */
		return unwrap(ctx, outer, UDP_BYTES, 0, DECAP_FOU);
	if (gue[0] | gue[2] | gue[3] || (gue[1] != PROTOCOL_IPV4 && gue[1] != PROTOCOL_IPV6))
		return DECAP_BAD_HEADER; /* another variant, control message, optional fields, or no IP inside */
	return unwrap(ctx, outer, UDP_BYTES + GUE_BYTES, gue[1], DECAP_GUE);
}

static __always_inline enum outcome decide(struct xdp_md *ctx)
{
	const struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));
	__u32 zero = 0;
	const struct own *o = own.lookup(&zero);
	struct outer outer = {};
	enum outcome refused;
	bool ours = false;

	if (!frame || !o)
		return DECAP_NOT_ENCAPSULATED;
	if (frame->type == htons(ETHERTYPE_IPV4))
		ours = read_outer_ipv4(ctx, o, &outer);
	else if (frame->type == htons(ETHERTYPE_IPV6))
		ours = read_outer_ipv6(ctx, o, &outer);
	if (!ours)
		return DECAP_NOT_ENCAPSULATED;
	if (outer.protocol == PROTOCOL_UDP)
		return unwrap_udp(ctx, o, &outer);
	if (outer.protocol != PROTOCOL_IPV4 && outer.protocol != PROTOCOL_IPV6)
		return DECAP_NOT_ENCAPSULATED;
	refused = check_outer(ctx, &outer);
	return refused ? refused : unwrap(ctx, &outer, 0, outer.protocol, DECAP_IPIP);
}

int decapsulate(struct xdp_md *ctx)
{
	__u32 outcome = decide(ctx);
	__u64 *count = counts.lookup(&outcome);

	if (count)
		(*count)++;
	return outcome < DECAP_BAD_HEADER ? XDP_PASS : XDP_DROP;
}
