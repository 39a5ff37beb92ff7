/* SPDX-License-Identifier: Apache-2.0 */
/* The outer headers of ENCAP: IPIP (RFC 2003, RFC 2473, RFC 4213) and GUE (draft-ietf-intarea-gue-09) variant 0 and 1, in all four pairs
 * of families. The inner packet loses one hop (RFC 2003 3.1) and is otherwise left as it is; the outer header takes over its traffic class
 * with ECN (RFC 6040 4.1, normal mode). */
#ifndef L4LB_ENCAP_H
#define L4LB_ENCAP_H

#define OUTER_TTL 64
#define PROTOCOL_IPV4 4
#define PROTOCOL_IPV6 41
#define GUE_BYTES 4
#define ODD_STEP 0x9e37
#define LOWEST_SPREAD_PORT 0xc000 /* of UDP sources: the dynamic ports (RFC 6335), 14 bits of the flow's hash */

struct gue {
	__u8 version_length; /* variant 0, data, no options */
	__u8 protocol;
	__u16 flags;
};

/* What an encapsulated packet is built from */
struct outer {
	const struct backend *backend;
	__u32 hash;       /* of the flow: sources and labels come from it */
	__u32 bytes;      /* of the inner packet */
	__u16 port;       /* network order: UDP destination */
	__u16 payload;    /* sum over the inner packet, for the outer checksum */
	__u16 identification;
	__u16 fragment;   /* flags for an outer IPv4 header */
	__u8 class;       /* of traffic, with ECN */
	__u8 mode;
	__u8 protocol;    /* of the inner packet: PROTOCOL_IPV4 or PROTOCOL_IPV6 */
	bool spread;
	bool checksum;
};

/* Bytes of the outer headers after the IP header */
static __always_inline __u32 shim_bytes(__u8 mode)
{
	if (mode == MODE_IPIP)
		return 0;
	return mode == MODE_GUE ? UDP_BYTES + GUE_BYTES : UDP_BYTES;
}

static __always_inline __u32 outer_bytes(__u8 mode, const struct backend *b)
{
	return (is_mapped(&b->address) ? IPV4_BYTES : IPV6_BYTES) + shim_bytes(mode);
}

/* Sum over an inner packet whose own transport checksum is right: header, and what makes that checksum's sum zero (as Linux' local
 * checksum offload does); false where there is no such checksum. An IPv4 header with its checksum sums up to zero. */
static __always_inline bool payload_sum(struct xdp_md *ctx, const struct scratch *s, __u16 *sum)
{
	__u32 header = s->family == 4 ? IPV4_BYTES : IPV6_BYTES;
	const struct udp *udp = bytes_at(ctx, IP_OFFSET + header, UDP_BYTES);
	__u64 pseudo = htons(s->tuple.protocol) + htons(s->l3_bytes - header);
	const struct ipv6 *ip;

	if (s->summed) {
		*sum = s->payload;
		return true;
	}
	if (s->tuple.protocol == PROTOCOL_UDP) {
		if (!udp || !udp->checksum || ntohs(udp->length) != s->l3_bytes - header)
			return false;
	} else if (s->tuple.protocol != PROTOCOL_TCP) {
		return false;
	}
	if (s->family == 4) {
		*sum = ~fold(pseudo + s->tuple.source.word[3] + s->tuple.destination.word[3]);
		return true;
	}
	ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);
	if (!ip)
		return false;
	*sum = fold((__u64)(__u16)~fold(pseudo) + words_sum(ip, 4));
	return true;
}

/* Takes one hop from the inner IPv4 packet, and what the outer header copies. A packet that may be fragmented may be so outside, too: its
 * identification, mixed with the flow's hash, stays unique, also among the fragments that share it. */
static __always_inline bool leave_ipv4(struct xdp_md *ctx, struct outer *o)
{
	struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	if (!ip)
		return false;
	ip->ttl--;
	ip->checksum = updated_checksum(ip->checksum, TTL_DELTA);
	o->class = ip->service;
	o->fragment = ip->fragment & htons(IPV4_DONT_FRAGMENT);
	o->identification = o->fragment ? 0 : (ip->identification ^ o->hash) + (__u32)(ip->fragment & htons(IPV4_OFFSET_MASK)) * ODD_STEP;
	return true;
}

static __always_inline bool leave_ipv6(struct xdp_md *ctx, struct outer *o)
{
	struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	if (!ip)
		return false;
	ip->hop_limit--;
	o->class = ntohl(ip->version_class_flow) >> 20;
	o->fragment = htons(IPV4_DONT_FRAGMENT);
	o->identification = 0;
	return true;
}

static __always_inline __u8 outer_protocol(const struct outer *o)
{
	return o->mode == MODE_IPIP ? o->protocol : PROTOCOL_UDP;
}

static __always_inline bool write_outer_ipv4(struct xdp_md *ctx, const struct config *c, const struct outer *o)
{
	__u32 source = o->spread ? c->spread_v4 | (o->hash & c->spread_v4_mask) : o->backend->outer_source.word[3];
	__u32 destination = o->backend->address.word[3];
	__u16 length = htons(IPV4_BYTES + shim_bytes(o->mode) + o->bytes);
	struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	if (!ip)
		return false;
	ip->version_length = 0x45;
	ip->service = o->class;
	ip->length = length;
	ip->identification = o->identification;
	ip->fragment = o->fragment;
	ip->ttl = OUTER_TTL;
	ip->protocol = outer_protocol(o);
	ip->source = source;
	ip->destination = destination;
	/* The header's words, not read back: what was just written in other sizes would have to reach memory first */
	ip->checksum = ~fold((__u64)(0x45 | o->class << 8) + length + o->identification + o->fragment +
			     (OUTER_TTL | outer_protocol(o) << 8) + source + destination);
	return true;
}

static __always_inline bool write_outer_ipv6(struct xdp_md *ctx, const struct config *c, const struct outer *o)
{
	struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	if (!ip)
		return false;
	ip->version_class_flow = htonl(6U << 28 | o->class << 20 | (o->hash & 0xfffff));
	ip->payload_length = htons(shim_bytes(o->mode) + o->bytes);
	ip->next_header = outer_protocol(o);
	ip->hop_limit = OUTER_TTL;
	copy_address((struct address *)ip->source, o->spread ? &c->spread_v6 : &o->backend->outer_source);
	if (o->spread)
		ip->source[3] = o->hash;
	copy_address((struct address *)ip->destination, &o->backend->address);
	return true;
}

/* The outer UDP checksum; `addresses` is the sum of the outer addresses */
static __always_inline __u16 outer_checksum(const struct outer *o, const struct udp *udp, const struct gue *gue, __u64 addresses)
{
	__u64 sum = addresses + htons(PROTOCOL_UDP) + udp->length + words_sum(udp, UDP_BYTES / 2) + o->payload;
	__u16 checksum;

	if (gue)
		sum += words_sum(gue, GUE_BYTES / 2);
	checksum = ~fold(sum);
	return checksum ? checksum : 0xffff;
}

static __always_inline bool write_shim(struct xdp_md *ctx, const struct outer *o, __u32 offset, __u64 addresses)
{
	struct udp *udp = bytes_at(ctx, offset, UDP_BYTES);
	struct gue *gue = NULL;

	if (!udp)
		return false;
	udp->source = htons(LOWEST_SPREAD_PORT | (o->hash & 0x3fff));
	udp->destination = o->port;
	udp->length = htons(shim_bytes(o->mode) + o->bytes);
	udp->checksum = 0;
	if (o->mode == MODE_GUE) {
		gue = bytes_at(ctx, offset + UDP_BYTES, GUE_BYTES);
		if (!gue)
			return false;
		gue->version_length = 0;
		gue->protocol = o->protocol;
		gue->flags = 0;
	}
	if (o->checksum)
		udp->checksum = outer_checksum(o, udp, gue, addresses);
	return true;
}

static __always_inline bool write_shim_ipv4(struct xdp_md *ctx, const struct outer *o)
{
	const struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	return ip && write_shim(ctx, o, IP_OFFSET + IPV4_BYTES, (__u64)ip->source + ip->destination);
}

static __always_inline bool write_shim_ipv6(struct xdp_md *ctx, const struct outer *o)
{
	const struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	return ip && write_shim(ctx, o, IP_OFFSET + IPV6_BYTES,
				address_sum((const struct address *)ip->source) + address_sum((const struct address *)ip->destination));
}

/* Outer headers and MACs of a frame that has grown to hold them */
static __always_inline bool write_outer(struct xdp_md *ctx, const struct config *c, const struct outer *o, bool v4)
{
	struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));

	if (!frame)
		return false;
	copy_mac(frame->destination, o->backend->destination_mac);
	copy_mac(frame->source, o->backend->source_mac);
	frame->type = v4 ? htons(ETHERTYPE_IPV4) : htons(ETHERTYPE_IPV6);
	if (!(v4 ? write_outer_ipv4(ctx, c, o) : write_outer_ipv6(ctx, c, o)))
		return false;
	if (o->mode == MODE_IPIP)
		return true;
	return v4 ? write_shim_ipv4(ctx, o) : write_shim_ipv6(ctx, o);
}

/* Turns a client's packet into one for the backend; `hash` is the flow's */
static __always_inline bool encapsulate(struct xdp_md *ctx, const struct scratch *s, const struct config *c, const struct backend *b,
					__u32 hash)
{
	const struct service *service = service_get(s->service);
	bool v4 = is_mapped(&b->address);
	struct outer o = {
		.backend = b,
		.hash = hash,
		.bytes = s->l3_bytes,
		.port = service ? service->encap_port : 0,
		.mode = service_mode(s->word),
		.protocol = s->family == 4 ? PROTOCOL_IPV4 : PROTOCOL_IPV6,
		.spread = s->word & SERVICE_SPREAD,
	};

	if (!(s->family == 4 ? leave_ipv4(ctx, &o) : leave_ipv6(ctx, &o)))
		return false;
	if (s->word & SERVICE_OUTER_CHECKSUM)
		o.checksum = payload_sum(ctx, s, &o.payload);
	if (bpf_xdp_adjust_head(ctx, -(int)outer_bytes(o.mode, b)))
		return false;
	return write_outer(ctx, c, &o, v4);
}

#endif
