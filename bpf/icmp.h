/* SPDX-License-Identifier: Apache-2.0 */
/* The icmp tail: ICMP and ICMPv6 for owned addresses. Errors follow the flow that they quote; those of NAT are translated as its packets
 * are, outside and inside; they neither make a flow nor keep one alive. */
#ifndef L4LB_ICMP_H
#define L4LB_ICMP_H

#define IPV4_LEAST_MTU 68 /* RFC 791 3.2 */
#define IPV6_LEAST_MTU 1280 /* RFC 8200 5 */

enum icmp_kind {
	ICMP_OTHER,
	ICMP_ERROR,
	ICMP_TOO_BIG, /* an error that names an MTU */
	ICMP_ECHO,
};

static __always_inline enum icmp_kind kind_of(const struct scratch *s, const struct icmp *message)
{
	__u8 type = message->type;

	if (s->family == 4) {
		if (type == ICMP_UNREACHABLE)
			return message->code == ICMP_CODE_FRAGMENTATION_NEEDED ? ICMP_TOO_BIG : ICMP_ERROR;
		if (type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM)
			return ICMP_ERROR;
		return type == ICMP_ECHO_REQUEST && !message->code ? ICMP_ECHO : ICMP_OTHER;
	}
	if (type == ICMPV6_PACKET_TOO_BIG)
		return ICMP_TOO_BIG;
	if (type == ICMPV6_UNREACHABLE || type == ICMPV6_TIME_EXCEEDED || type == ICMPV6_PARAMETER_PROBLEM)
		return ICMP_ERROR;
	return type == ICMPV6_ECHO_REQUEST && !message->code ? ICMP_ECHO : ICMP_OTHER;
}

/* Whether the MTU is one that a link can have. An IPv4 router from before RFC 1191 names none: the receiver then guesses. */
static __always_inline bool plausible_mtu(const struct scratch *s, const struct icmp *message)
{
	__u32 low = ntohs(message->word[1]);

	if (s->family == 4)
		return !low || low >= IPV4_LEAST_MTU;
	return ((__u32)ntohs(message->word[0]) << 16 | low) >= IPV6_LEAST_MTU;
}

/* What the new addresses of the error itself add to a checksum that covers them */
static __always_inline __u16 outer_delta(struct xdp_md *ctx, const struct scratch *s, const struct tuple *to)
{
	__u64 new = address_sum(&to->source) + address_sum(&to->destination), old;

	if (s->family == 4) {
		const struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

		/* Both are mapped: what their other words add is in `new` as well */
		old = ip ? 2ULL * htonl(0xffff) + ip->source + ip->destination : 0;
	} else {
		const struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

		old = ip ? address_sum((const struct address *)ip->source) + address_sum((const struct address *)ip->destination) : 0;
	}
	return checksum_delta(old, new);
}

/* The quoted packet went the other way: its source becomes the error's new destination, and the other way round */
static __always_inline bool translate_quoted_ip(struct xdp_md *ctx, const struct scratch *s, const struct translation *t)
{
	if (s->family == 4) {
		struct ipv4 *ip = bytes_at(ctx, IP_OFFSET + IPV4_BYTES + ICMP_BYTES, IPV4_BYTES);

		if (!ip)
			return false;
		ip->checksum = updated_checksum(ip->checksum, t->header_delta);
		ip->source = t->to->destination.word[3];
		ip->destination = t->to->source.word[3];
	} else {
		struct ipv6 *ip = bytes_at(ctx, IP_OFFSET + IPV6_BYTES + ICMP_BYTES, IPV6_BYTES);

		if (!ip)
			return false;
		copy_address((struct address *)ip->source, &t->to->destination);
		copy_address((struct address *)ip->destination, &t->to->source);
	}
	return true;
}

/* Ports, and the checksum where the quote reaches so far; `*summed` says whether it had one to update */
static __always_inline bool translate_quoted_transport(struct xdp_md *ctx, const struct scratch *s, const struct quote *q,
						       const struct translation *t, bool *summed)
{
	struct udp *udp = quoted_bytes(ctx, q, QUOTED_PORTS_BYTES);

	*summed = false;
	if (!udp)
		return false;
	udp->source = t->to->destination_port;
	udp->destination = t->to->source_port;
	if (s->tuple.protocol == PROTOCOL_TCP) {
		struct tcp *tcp = quoted_bytes(ctx, q, TCP_CHECKSUM_BYTES);

		if (!tcp)
			return true;
		tcp->checksum = updated_checksum(tcp->checksum, t->checksum_delta);
		*summed = true;
	} else if (udp->checksum) {
		__u16 checksum = updated_checksum(udp->checksum, t->checksum_delta);

		udp->checksum = checksum ? checksum : 0xffff;
		*summed = true;
	}
	return true;
}

/* What the translated quote adds to the ICMP checksum: what it adds to words and what those words take from a checksum among them cancel
 * out. An IPv4 header always sums to the same; transport and addresses do when the transport's checksum is there. */
static __always_inline __u16 quote_delta(const struct scratch *s, const struct translation *t, bool summed)
{
	__u16 delta = summed ? 0 : t->checksum_delta;

	return s->family == 4 ? fold((__u32)delta + (__u16)~t->header_delta) : delta;
}

/* Translates an error along `t`, which is how the packets of its direction are translated. A wrong checksum stays wrong. */
static __always_inline bool translate_error(struct xdp_md *ctx, const struct scratch *s, const struct quote *q, struct translation *t)
{
	struct icmp *message = bytes_at(ctx, quote_offset(s) - ICMP_BYTES, ICMP_BYTES);
	struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));
	__u16 outer = outer_delta(ctx, s, t->to);
	bool summed;
	__u32 delta;

	if (!frame || !message || !translate_quoted_ip(ctx, s, t) || !translate_quoted_transport(ctx, s, q, t, &summed))
		return false;
	delta = (__u32)quote_delta(s, t, summed) + (s->family == 6 ? outer : 0);
	message->checksum = updated_checksum(message->checksum, delta);
	copy_mac(frame->destination, t->destination_mac);
	copy_mac(frame->source, t->source_mac);
	t->header_delta = outer;
	return s->family == 4 ? translate_ipv4(ctx, t) : translate_ipv6(ctx, t);
}

/* About a packet to the client. It comes from the SNAT address, as all that the backend sees: who sent it may be no one that the backend
 * has a route to, and a host with a strict reverse path filter would drop it. */
static __always_inline __u32 error_to_backend(struct xdp_md *ctx, struct scratch *s, const struct config *c, const struct quote *q,
					      const struct flow *f)
{
	const struct backend *backend = backend_get(f->backend);
	struct translation t;
	__u32 why;

	s->service = f->service;
	s->backend = f->backend;
	if (!backend || !(backend->flags & BACKEND_KEEP))
		return refuse(s, REASON_ICMP_NO_FLOW);
	if (backend->flags & BACKEND_LISTED && barred(s, f->service, &s->tuple.source))
		return DROP(s->refused);
	why = obstacle(s, backend->ifindex, backend->mtu);
	if (why)
		return DROP(why);
	t.source_mac = backend->source_mac;
	t.destination_mac = backend->destination_mac;
	sum_translation(&t, &s->tuple, &s->becomes);
	if (!translate_error(ctx, s, q, &t))
		return DROP(REASON_ICMP_MALFORMED);
	if (!still(s, f))
		return DROP(REASON_ICMP_NO_FLOW);
	count_in(s, f->service, f->backend, false);
	return OUTCOME(REASON_ICMP_TO_BACKEND, transmit(ctx, s, c, out_to(backend)));
}

/* About a packet to the backend. It comes from the VIP, whoever sent it: the client knows nobody behind, and shall not. An error about a
 * backend that the client's tuple has left would end the flow that took its place. */
static __always_inline __u32 error_to_client(struct xdp_md *ctx, struct scratch *s, const struct config *c, const struct quote *q,
					     struct flow *f)
{
	const struct backend *backend = backend_get(f->backend);
	struct translation t;
	__u32 why;

	s->service = f->service;
	s->backend = f->backend;
	if (!backend || !(backend->flags & BACKEND_KEEP) || word_flags(s->flow_word) & FLOW_DISPLACED)
		return refuse(s, REASON_ICMP_NO_FLOW);
	if (backend->flags & BACKEND_LISTED && barred(s, f->service, &s->becomes.destination))
		return DROP(s->refused);
	renew_way_back(ctx, s, c, f);
	why = obstacle(s, f->ifindex, f->mtu);
	if (why)
		return DROP(why);
	t.source_mac = f->source_mac;
	t.destination_mac = f->destination_mac;
	sum_translation(&t, &s->tuple, &s->becomes);
	if (!translate_error(ctx, s, q, &t))
		return DROP(REASON_ICMP_MALFORMED);
	if (!still(s, f))
		return DROP(REASON_ICMP_NO_FLOW);
	count_out(s, f->service, f->backend);
	return OUTCOME(REASON_ICMP_TO_CLIENT, transmit(ctx, s, c, f->ifindex));
}

/* Whether the tuple is one of a DSR or ENCAP service's clients; sets s->service and s->word */
static __always_inline bool quotes_direct(struct scratch *s, const struct config *c)
{
	__u64 address = address_hash(&s->tuple.destination, c->index_secret);
	const struct owned_address *owned = owned_find(c, address, &s->tuple.destination);

	return owned && service_find(s, c, owned, address) && service_mode(s->word) > MODE_KEEP;
}

/* read_quote() by way of memory: the verifier forgets how many extension headers were walked, and walks what follows once */
static __always_inline __u32 remember_quote(struct xdp_md *ctx, struct scratch *s, struct quote *q)
{
	__u32 why = forgotten(s, read_quote(ctx, s, q));

	s->quoted = q->transport;
	asm volatile("" ::: "memory");
	q->transport = s->quoted & QUOTE_MASK;
	return why;
}

static __always_inline __u32 follow_error(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	struct flow *f = NULL;
	struct quote q = {};
	__u32 why = remember_quote(ctx, s, &q);

	if (why)
		return refuse(s, why);
	s->now = second(c);
	if (s->owned_flags & ADDRESS_VIP)
		f = flow_find(s, c);
	if (f)
		return error_to_backend(ctx, s, c, &q, f);
	if (s->owned_flags & ADDRESS_VIP && quotes_direct(s, c))
		return direct_error(ctx, s, c, &q);
	if (s->owned_flags & (ADDRESS_SNAT | ADDRESS_FOREIGN))
		f = reply_find(s, c);
	return f ? error_to_client(ctx, s, c, &q, f) : refuse(s, REASON_ICMP_NO_FLOW);
}

/* ICMP for an owned address, which read_packet() found to be neither a fragment nor with options */
static __always_inline __u32 icmp_packet(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u32 header = s->family == 4 ? IPV4_BYTES : IPV6_BYTES;
	const struct icmp *message = bytes_at(ctx, IP_OFFSET + header, ICMP_BYTES);
	enum icmp_kind kind;
	__u32 why;

	if (!message || s->l3_bytes < header + ICMP_BYTES)
		return refuse(s, REASON_ICMP_MALFORMED);
	kind = kind_of(s, message);
	if (kind == ICMP_OTHER || (kind == ICMP_ECHO && s->owned_flags & ADDRESS_FOREIGN))
		return refuse(s, REASON_ICMP_UNSUPPORTED);
	why = source_fault(s, c); /* a router may well have a link-local one */
	if (why)
		return refuse(s, why);
	if (kind == ICMP_ECHO)
		return answer_echo(ctx, s, c, header);
	if (kind == ICMP_TOO_BIG && !plausible_mtu(s, message))
		return refuse(s, REASON_ICMP_MTU_TOO_SMALL);
	return follow_error(ctx, s, c);
}

#endif
