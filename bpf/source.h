/* SPDX-License-Identifier: Apache-2.0 */
/* Where packets claim to come from: asked before a flow is created, a packet is sent to a backend without one, or an answer is sent.
 * Packets of a known NAT flow are not asked again. */
#ifndef L4LB_SOURCE_H
#define L4LB_SOURCE_H

/* What no host on a network has: this network, loopback, multicast, reserved and broadcast (RFC 1122 3.2.1.3, RFC 1812 5.3.7); in IPv6
 * multicast and all of ::/32, where the unspecified address, loopback and IPv4 in the clothes of IPv6 are (RFC 4291 2.5, 2.7) */
static __always_inline bool martian(const struct scratch *s)
{
	const struct address *a = &s->tuple.source;
	__u8 first;

	if (s->family == 6)
		return !a->word[0] || (a->word[0] & 0xff) == 0xff;
	first = a->word[3];
	return !first || first == 127 || first >= 224;
}

/* Means something else on each link (RFC 3927, RFC 4007), and no router may send it on: a flow does not know its link, so that two clients
 * could be taken for one, and a backend on another link could not answer. */
static __always_inline bool link_local(const struct scratch *s)
{
	const struct address *a = &s->tuple.source;

	if (s->family == 6)
		return (a->word[0] & htonl(0xffc00000)) == htonl(0xfe800000);
	return (a->word[3] & htonl(0xffff0000)) == htonl(0xa9fe0000);
}

/* A bit tells most sources from ours; only for what it does not tell `index` is asked */
static __always_inline bool owned_source(const struct scratch *s, const struct config *c)
{
	__u8 bit = owned_bit(&s->tuple.source);

	if (!(c->owned_filter[bit >> 5] >> (bit & 31) & 1))
		return false;
	return owned_find(c, address_hash(&s->tuple.source, c->index_secret), &s->tuple.source);
}

/* Why nothing may be answered to where the packet claims to come from, 0 when it may */
static __always_inline __u32 source_fault(const struct scratch *s, const struct config *c)
{
	if (martian(s))
		return REASON_SOURCE_MARTIAN;
	return owned_source(s, c) ? REASON_SOURCE_OWNED : 0;
}

/* Why a packet from there may not be sent on, 0 when it may */
static __always_inline __u32 client_fault(const struct scratch *s, const struct config *c)
{
	return link_local(s) ? REASON_SOURCE_MARTIAN : source_fault(s, c);
}

#endif
