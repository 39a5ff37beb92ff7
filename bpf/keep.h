/* SPDX-License-Identifier: Apache-2.0 */
/* NAT that keeps the client's address (MODE_KEEP). A backend answers to the client itself, and is routed through here: its packets are for
 * foreign addresses, and are known by where they come from. Whose they are the record decides, as with all of NAT; what is no flow's
 * passes as it came. */
#ifndef L4LB_KEEP_H
#define L4LB_KEEP_H

static __always_inline bool keeps_client(const struct scratch *s)
{
	return service_mode(s->word) == MODE_KEEP;
}

static __always_inline bool kept_in(const struct bucket *b, __u64 wanted, const struct address *a)
{
#pragma clang loop unroll(disable)
	for (int i = 0; b && i < PLACES; i++) {
		__u64 entry = b->entry[i];
		const struct backend *backend;

		if (entry >> 16 != wanted)
			continue;
		backend = backend_get((__u16)entry);
		if (backend && same_address(&backend->address, a))
			return true;
	}
	return false;
}

/* Whether the packet comes from a backend of a service that keeps clients' addresses. 256 bits tell most others from them */
static __always_inline bool from_kept(const struct scratch *s, const struct config *c)
{
	const struct address *a = &s->tuple.source;
	const struct bucket *first;
	__u8 bit = owned_bit(a);
	__u64 hash, wanted;

	if (!(c->kept_filter[bit >> 5] >> (bit & 31) & 1))
		return false;
	hash = address_hash(a, c->index_secret);
	wanted = wanted_entry(hash, INDEX_BACKEND);
	first = kept_get(hash & c->kept_mask);
	return kept_in(first, wanted, a) || (bucket_full(first) && kept_in(kept_get(second_place(hash, c->kept_mask)), wanted, a));
}

/* Whether a packet for a foreign address may belong to a flow. ICMP may come from any router that saw a flow's packet. */
static __always_inline bool may_be_kept(struct xdp_md *ctx, const struct scratch *s, const struct config *c)
{
	const struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);
	const struct ipv6 *ip6 = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	if (!(c->flags & CONFIG_KEEP))
		return false;
	if (s->family == 4 ? ip && ip->protocol == PROTOCOL_ICMP : ip6 && ip6->next_header == PROTOCOL_ICMPV6)
		return true;
	return from_kept(s, c);
}

#endif
