/* SPDX-License-Identifier: Apache-2.0 */
/* IPv4 options and IPv6 extension headers of packets for owned addresses: what goes along untouched, and what is refused. Walked in the
 * scratch, where they are loaded to; nothing of them is changed. */
#ifndef L4LB_OPTIONS_H
#define L4LB_OPTIONS_H

#define IPV4_OPTION_BYTES 40 /* at most */
#define OPTION_END 0
#define OPTION_NOTHING 1
#define OPTION_RECORD_ROUTE 7
#define OPTION_TIMESTAMP 68
#define OPTION_LOOSE_ROUTE 131
#define OPTION_STRICT_ROUTE 137

#define MOST_HEADERS 6    /* as many as RFC 8200 4.1 orders before a transport */
#define HEADERS_BYTES 256 /* of them, at most */
#define MOST_OPTIONS 24   /* of one header, padding included */
#define OPTION_HOME_ADDRESS 201

/* The options of an IPv4 header of `header` bytes, which is at the beginning of s->block with zeros behind; returns 0 or a reason. A source
 * route makes a packet that is for us go on to others. */
static __always_inline __u32 read_ipv4_options(struct scratch *s, __u32 header)
{
	struct walk *w = &s->walk;

	w->at = IPV4_BYTES;
#pragma clang loop unroll(disable)
	for (int i = 0; i < IPV4_OPTION_BYTES; i++) {
		__u32 at = w->at;
		__u8 kind = s->block[at & 63], length = s->block[(at + 1) & 63];

		if (at >= header || kind == OPTION_END)
			return 0;
		if (kind == OPTION_NOTHING)
			length = 1;
		else if (length < 2 || at + length > header)
			return REASON_OPTIONS_WRONG;
		if (kind == OPTION_LOOSE_ROUTE || kind == OPTION_STRICT_ROUTE)
			return REASON_SOURCE_ROUTED;
		if (kind == OPTION_RECORD_ROUTE || kind == OPTION_TIMESTAMP)
			s->recording = true;
		w->at = at + length;
	}
	return 0;
}

/* The options of a hop-by-hop or destination options header of `bytes` at s->walk.at. A home address (RFC 6275 6.3) is the source that
 * transport checksums and the receiver mean: the flow would be another's than that of the address in the header. */
static __always_inline __u32 read_header_options(struct scratch *s, __u32 bytes)
{
	struct walk *w = &s->walk;
	__u32 end = w->at + bytes;

	w->option = w->at + 2;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MOST_OPTIONS; i++) {
		__u32 at = w->option, length;
		__u8 kind = s->block[at & (SUM_BYTES - 1)];

		if (at >= end)
			return 0;
		length = kind ? 2 + s->block[(at + 1) & (SUM_BYTES - 1)] : 1;
		if (at + length > end)
			return REASON_OPTIONS_WRONG;
		if (kind == OPTION_HOME_ADDRESS)
			return REASON_IP_OPTIONS;
		w->option = at + length;
	}
	return w->option >= end ? 0 : REASON_HEADERS_TOO_MANY;
}

#define SEEN_ROUTING 1
#define SEEN_FRAGMENT 2
#define SEEN_OPTIONS 4
#define SEEN_OPTIONS_TWICE 8

/* Whether a header may follow those `seen` (RFC 8200 4.1): hop-by-hop options only right after the IPv6 header, destination options at most
 * twice, others once, and routing before the fragment header. Returns 0 or a reason, and notes it. */
static __always_inline __u32 header_fault(const struct extension *x, struct walk *w)
{
	__u8 seen = w->seen;

	switch (w->kind) {
	case PROTOCOL_HOP_BY_HOP:
		return w->at ? REASON_HEADER_ORDER : 0;
	case PROTOCOL_DESTINATION_OPTIONS:
		w->seen = seen | (seen & SEEN_OPTIONS ? SEEN_OPTIONS_TWICE : SEEN_OPTIONS);
		return seen & SEEN_OPTIONS_TWICE ? REASON_HEADER_ORDER : 0;
	case PROTOCOL_ROUTING:
		w->seen = seen | SEEN_ROUTING;
		if (!x->type || x->segments_left) /* RFC 5095; what is not at its end is not for us */
			return REASON_SOURCE_ROUTED;
		return seen & (SEEN_ROUTING | SEEN_FRAGMENT) ? REASON_HEADER_ORDER : 0;
	case PROTOCOL_FRAGMENT:
		w->seen = seen | SEEN_FRAGMENT;
		return seen & SEEN_FRAGMENT ? REASON_HEADER_ORDER : 0;
	default: /* of keys, homes and identities that we do not have: AH, mobility, HIP, Shim6 */
		return REASON_IP_OPTIONS;
	}
}

/* A chain that goes beyond what is loaded of it: in a first fragment the rest is in another, which RFC 7112 forbids */
static __always_inline __u32 cut_chain(const struct scratch *s, bool whole)
{
	if (!whole)
		return REASON_HEADERS_TOO_MANY;
	return s->piece.more ? REASON_FRAGMENT_TINY : REASON_OPTIONS_WRONG;
}

/* The extension header at hand; returns 0 or a reason */
static __always_inline __u32 read_extension(struct scratch *s, __u32 loaded, bool whole)
{
	struct walk *w = &s->walk;
	__u32 at = w->at, bytes, why;
	const struct extension *x;

	if (at > HEADERS_BYTES)
		return REASON_HEADERS_TOO_MANY;
	x = (const struct extension *)(s->block + at);
	bytes = extension_bytes(x, w->kind);
	if (at + EXTENSION_BYTES > loaded || at + bytes > loaded)
		return cut_chain(s, whole);
	why = header_fault(x, w);
	if (!why && (w->kind == PROTOCOL_HOP_BY_HOP || w->kind == PROTOCOL_DESTINATION_OPTIONS))
		why = read_header_options(s, bytes);
	if (why)
		return why;
	if (w->kind == PROTOCOL_FRAGMENT)
		note_fragment_header(s, (const struct fragment *)x, at + bytes);
	w->at = at + bytes;
	w->kind = x->next_header;
	return 0;
}

/* Walks the extension headers, of which `loaded` bytes are at the beginning of s->block, to the transport header or, in a later fragment,
 * to what the fragment brings. `kind` is the first one's, `whole` says that no more bytes follow those. Returns 0 or a reason; sets the
 * tuple's protocol, s->transport and, where there is a fragment header, s->piece. */
static __always_inline __u32 read_extensions(struct scratch *s, __u8 kind, __u32 loaded, bool whole)
{
	struct walk *w = &s->walk;
	__u32 why;

	w->at = 0;
	w->seen = 0;
	w->kind = kind;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MOST_HEADERS; i++) {
		if (!is_extension(w->kind) || s->piece.offset)
			break;
		why = read_extension(s, loaded, whole);
		if (why)
			return why;
	}
	if (w->at > HEADERS_BYTES || (is_extension(w->kind) && !s->piece.offset))
		return REASON_HEADERS_TOO_MANY;
	s->tuple.protocol = w->kind;
	s->transport = IP_OFFSET + IPV6_BYTES + w->at;
	return 0;
}

#endif
