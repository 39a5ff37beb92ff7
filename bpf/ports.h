/* SPDX-License-Identifier: Apache-2.0 */
/* The source port of a new NAT flow: its entry in the index by the backend's tuple is the allocation. A search is eight tries; after one
 * that failed, and for which nobody gave up a port (give_port.h), new flows for that backend and address get one look instead, at one
 * port, for a while. */
#ifndef L4LB_PORTS_H
#define L4LB_PORTS_H

#define PORT_TRIES 8
#define GLANCE (PORT_TRIES - 1) /* the try that is looked at instead of a search */
#define GOLDEN_RATIO 0x9e3779b97f4a7c15ULL /* of 2^64 */
#define RACE_LOST REASONS /* in the place of a reason */
#define NONE_FREE (REASONS + 1) /* likewise */
#define FULL_TICKS 2 /* of 1/16 s: how long a backend is taken for full after a failed search */
#define LOWEST_KEPT_PORT 1024

/* The port at the backend, network order, of a flow to `vip_port`: a range of ports keeps it, unless the backend names one */
static __always_inline __u16 port_at(const struct backend *backend, __u16 vip_port)
{
	return backend->port ? backend->port : vip_port;
}

/* The SNAT address and port of one try, as what the packet becomes */
static __always_inline void fill_source(struct scratch *s, const struct backend *b, const struct address *source, __u16 port)
{
	struct tuple *to = &s->becomes;

	copy_address(&to->source, source);
	copy_address(&to->destination, &b->address);
	to->source_port = port;
	to->destination_port = port_at(b, s->tuple.destination_port);
	to->protocol = s->tuple.protocol;
}

/* Port of the given try: the client's own first, then a walk from the seed, by the golden ratio of all ports: clients with ports in a row
 * leave rows of ports taken, out of which small steps do not lead */
static __always_inline __u16 port_of_try(const struct scratch *s, const struct config *c, __u64 seed, __u32 try)
{
	__u32 own = ntohs(s->tuple.source_port), range = c->port_high - c->port_low + 1;
	__u32 walk = (seed + try * GOLDEN_RATIO) >> 48;

	if (!try && own >= LOWEST_KEPT_PORT && own >= c->port_low && own <= c->port_high)
		return own;
	return c->port_low + (walk * range >> 16);
}

/* Index in snat[] of the given try */
static __always_inline __u32 address_of_try(const struct scratch *s, const struct config *c, __u64 seed, __u32 try)
{
	__u32 first = s->family == 4 ? 0 : SNAT_V6_BASE, count = s->family == 4 ? c->snat_v4 : c->snat_v6;
	__u32 walk = ((seed >> 32) + try * (seed >> 48 | 1)) & 0xffff;

	return first + (walk * count >> 16);
}

/* Writes the backend's tuple into the record */
static __always_inline bool port_note(const struct scratch *s, struct flow *f)
{
	f->snat_port = s->becomes.source_port;
	if (s->family == 4) {
		f->snat = s->becomes.source.word[3];
	} else {
		struct flow_v6 *v6 = flow_v6_get(s->flow_id);

		if (!v6)
			return false;
		copy_address(&v6->snat, &s->becomes.source);
	}
	return true;
}

/* Claims the entry of the backend's tuple, once the record has it: only then can another CPU compare its own with it */
static __always_inline bool port_claim(struct scratch *s, const struct config *c, struct flow *f)
{
	return port_note(s, f) && index_claim(s, c, reversed_hash(&s->becomes, c->slot_secret), s->flow_id);
}

/* Who has what the backend would send to this source, 0 when nobody */
static __always_inline __u32 port_holder(const struct scratch *s, const struct config *c)
{
	__u64 hash = reversed_hash(&s->becomes, c->slot_secret);

	return index_rivals(c, hash, index_entry(hash, 0));
}

/* A kept port that the flow `holder` has: taken over when that is over, when the client's tuple has left it, or when it is the one that
 * this flow follows (`earlier`). The backend judges whether its old connection is over, as if nobody were between (RFC 9293 3.10.7).
 * Returns as port_search() */
static __always_inline __u32 port_inherit(struct scratch *s, const struct config *c, struct flow *f, __u32 holder, __u32 earlier)
{
	const struct flow *old = flow_get(holder & ~FLOW_PENDING);
	__u64 hash = reversed_hash(&s->becomes, c->slot_secret);
	__u32 word = old ? read_word(old) : 0;

	if (holder & FLOW_PENDING || !old || !word_state(word))
		return RACE_LOST; /* another CPU is about to have it, or to give it up */
	if (holder != earlier && !(word_flags(word) & FLOW_DISPLACED) && !flow_expired(c, old, word, s->now))
		return REASON_CLIENT_PORT_TAKEN;
	return port_note(s, f) && index_change(c, hash, index_entry(hash, holder), index_entry(hash, s->flow_id)) ? 0 : RACE_LOST;
}

/* What one try makes of the packet; false when there is no SNAT address */
static __always_inline bool fill_try(struct scratch *s, const struct config *c, const struct backend *b, __u64 seed, __u32 try)
{
	bool keeps = keeps_client(s);
	const struct address *source = keeps ? &s->tuple.source : snat_get(address_of_try(s, c, seed, try));

	if (!source)
		return false;
	fill_source(s, b, source, keeps ? s->tuple.source_port : htons(port_of_try(s, c, seed, try)));
	return true;
}

/* The buckets in which the first port is claimed: see fetch() */
static __always_inline void fetch_port(struct scratch *s, const struct config *c, const struct backend *b, __u64 seed)
{
	const struct bucket *first;

	if (!fill_try(s, c, b, seed, 0))
		return;
	first = index_bucket(c, reversed_hash(&s->becomes, c->slot_secret), 0);
	if (first)
		fetch(first);
}

/* Finds a port for the record's flow, which follows the flow `earlier` (0 = none); returns 0, a reason, NONE_FREE, or RACE_LOST when
 * another CPU took the port at the very moment. A claim is dear, for the verifier: there is one, for the first port that is free at a
 * look */
static __always_inline __u32 port_search(struct scratch *s, const struct config *c, struct flow *f, const struct backend *b, __u64 seed,
					 __u32 earlier)
{
#pragma clang loop unroll(disable)
	for (__u32 try = 0; try < PORT_TRIES; try++) {
		__u32 holder;

		if (!fill_try(s, c, b, seed, try))
			return REASON_NO_SNAT_ADDRESS;
		holder = port_holder(s, c);
		if (!holder)
			return port_claim(s, c, f) ? 0 : RACE_LOST;
		if (keeps_client(s))
			return port_inherit(s, c, f, holder, earlier);
	}
	return NONE_FREE;
}

static __always_inline void port_release(const struct scratch *s, const struct config *c)
{
	__u64 hash = reversed_hash(&s->becomes, c->slot_secret);

	index_change(c, hash, index_entry(hash, s->flow_id), 0);
}

/* Whether a search has just failed, by the word that it left */
static __always_inline bool taken_for_full(const struct config *c, const __u32 *full)
{
	return full && *full - tick(c) - 1 < FULL_TICKS;
}

/* Whether one port of those that a search would try is free. A search also fails by bad luck, with half of the ports taken in one of 250:
 * only while a single look fails as well is the backend taken for full. */
static __always_inline bool glance(struct scratch *s, const struct config *c, const struct backend *b, __u64 seed)
{
	return fill_try(s, c, b, seed, GLANCE) && !port_holder(s, c);
}

/* From where ports are searched */
static __always_inline __u64 port_seed(const struct scratch *s, const struct config *c, __u16 backend)
{
	return mix(s->hash, (__u64)backend << 32 | s->now, c->index_secret);
}

/* Where the searches for this backend and address leave word that they failed */
static __always_inline __u32 *full_mark(const struct scratch *s, const struct config *c, __u16 backend, __u64 seed)
{
	return port_full_get(mix(backend, address_of_try(s, c, seed, 0), c->index_secret) & (PORT_FULL_PLACES - 1));
}

#endif
