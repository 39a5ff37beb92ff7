/* SPDX-License-Identifier: Apache-2.0 */
/* The nat_new tail: a TCP SYN, or a UDP packet without a flow. Decides whether it goes along a flow that is there, and else makes one:
 * the reply half is claimed first (that is the port allocation), the forward half second, and the claim is undone when that fails. */
#ifndef L4LB_NEW_FLOW_H
#define L4LB_NEW_FLOW_H

#define EEXIST 17
#define EBUSY 16
#define E2BIG 7
#define ENOMEM 12
#define PORT_TRIES 8
#define FULL_TICKS 2 /* of 1/16 s: how long a backend is taken for full after a failed search */
#define RETRANSMISSION_SECONDS 3
#define LOWEST_KEPT_PORT 1024

enum way {
	WAY_NEW,     /* a new flow, by the ring */
	WAY_FOLLOW,  /* along the flow that is there */
	WAY_RESTART, /* a new connection in the two halves that are there */
	WAY_LATE,    /* a late duplicate of the closed flow's SYN */
};

/* What a SYN for a live entry is (semantics: a SYN obeys the ring, retransmissions and forgeries excepted) */
static __always_inline enum way syn_way(const struct scratch *s, const struct flow *f, __u16 chosen)
{
	bool same = s->sequence == f->sequence, stays = chosen == f->backend;

	if (f->state == FLOW_ESTABLISHED || f->state == FLOW_CLOSING)
		return WAY_FOLLOW; /* the backend's challenge ACK settles it (RFC 5961 4.2): a forged SYN cuts nobody */
	if (f->state == FLOW_CLOSED) {
		if (f->flags & FLOW_RESET)
			return WAY_NEW;
		if (same)
			return WAY_LATE;
		/* as a host in TIME-WAIT (RFC 6191, without timestamps); else another port, never a refusal */
		return stays && newer(s->sequence, f->last_sequence) ? WAY_RESTART : WAY_NEW;
	}
	if (!same)
		return stays ? WAY_RESTART : WAY_NEW;
	if (stays || f->state == FLOW_ANSWERED || !aged(s->now, f->created, RETRANSMISSION_SECONDS))
		return WAY_FOLLOW;
	return WAY_NEW;
}

static __always_inline enum way way_of(const struct scratch *s, const struct flow *f, const struct backend *b, __u16 chosen)
{
	if (!(b->flags & BACKEND_KEEP))
		return WAY_NEW;
	return s->tuple.protocol == PROTOCOL_TCP ? syn_way(s, f, chosen) : WAY_FOLLOW;
}

/* A new connection in the pair that an earlier one of the same tuple and backend left; false when the pair is not whole */
static __always_inline bool restart(struct scratch *s, struct flow *f)
{
	struct reply *r = reply_of(s, f);

	if (!r)
		return false;
	f->sequence = f->last_sequence = s->sequence;
	f->created = f->seen = r->created = r->seen = s->now;
	f->flags = r->flags = 0;
	f->state = r->state = FLOW_SYN;
	r->left = false;
	return true;
}

/* The displaced flow's reply half only keeps its port from now on */
static __always_inline void displace(struct scratch *s, const struct flow *f)
{
	if (f->state != FLOW_CLOSED)
		flow_reset(NULL, reply_of(s, f));
}

/* Both halves, all but the SNAT address and port */
static __always_inline void fill_flow(struct scratch *s, __u16 backend)
{
	__u8 state = s->tuple.protocol == PROTOCOL_TCP ? FLOW_SYN : FLOW_UDP;
	struct reply *r = &s->reply;
	struct flow *f = &s->flow;

	f->backend = r->backend = backend;
	f->service = r->service = s->service;
	f->state = r->state = state;
	f->flags = r->flags = 0;
	f->seen = f->created = r->seen = r->created = s->now;
	f->sequence = f->last_sequence = s->sequence;
	copy_address(&r->client, &s->tuple.source);
	copy_address(&r->vip, &s->tuple.destination);
	r->client_port = s->tuple.source_port;
	r->vip_port = s->tuple.destination_port;
}

/* The SNAT address and port of one try, and what they change in the checksums */
static __always_inline void fill_source(struct scratch *s, const struct backend *b, const struct address *source, __u16 port)
{
	const union tuple *t = &s->tuple;
	__u64 old = address_sum(&t->source) + address_sum(&t->destination);
	__u64 new = address_sum(source) + address_sum(&b->address);
	__u16 at = port_at(b, t->destination_port);
	struct flow *f = &s->flow;

	copy_address(&f->snat, source);
	f->snat_port = port;
	f->header_delta = checksum_delta(old, new);
	f->checksum_delta = checksum_delta(old + t->source_port + t->destination_port, new + port + at);
	s->reply.header_delta = ~f->header_delta;
	s->reply.checksum_delta = ~f->checksum_delta;
	copy_address(&s->reply_key.backend, &b->address);
	copy_address(&s->reply_key.snat, source);
	s->reply_key.backend_port = at;
	s->reply_key.snat_port = port;
	s->reply_key.protocol = t->protocol;
}

/* Port of the given try: the client's own first, then a walk with an odd step, from the seed */
static __always_inline __u16 port_of_try(const struct scratch *s, const struct config *c, __u64 seed, __u32 try)
{
	__u32 own = ntohs(s->tuple.source_port), range = c->port_high - c->port_low + 1;
	__u32 walk = (seed + try * (seed >> 16 | 1)) & 0xffff;

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

/* Claims a reply half; returns 0 or a reason */
static __always_inline __u32 claim(struct scratch *s, const struct config *c, const struct backend *b, __u64 seed)
{
	for (__u32 try = 0; try < PORT_TRIES; try++) {
		const struct address *source = snat_get(address_of_try(s, c, seed, try));
		int error;

		if (!source)
			return REASON_NO_SNAT_ADDRESS;
		fill_source(s, b, source, htons(port_of_try(s, c, seed, try)));
		error = reply_claim(&s->reply_key, &s->reply);
		if (!error)
			return 0;
		if (error != -EEXIST && error != -EBUSY)
			return REASON_FLOW_TABLE_FULL;
	}
	return REASON_NO_SOURCE_PORT;
}

/* Whether one port of those that a search would try is free. A search also fails by bad luck, with half of the ports taken in one of 250:
 * only while a single look fails as well is the backend taken for full. */
static __always_inline bool glance(struct scratch *s, const struct config *c, const struct backend *b, __u64 seed)
{
	const struct address *source = snat_get(address_of_try(s, c, seed, PORT_TRIES - 1));

	if (!source)
		return false;
	fill_source(s, b, source, htons(port_of_try(s, c, seed, PORT_TRIES - 1)));
	return !reply_get(&s->reply_key);
}

/* Where the searches for this backend and address leave word that they failed */
static __always_inline __u32 *full_mark(const struct scratch *s, const struct config *c, __u16 backend, __u64 seed)
{
	return port_full_get(mix(backend, address_of_try(s, c, seed, 0), c->index_secret) & (PORT_FULL_PLACES - 1));
}

/* Makes both halves, in s->flow and in the maps. Returns the packet's reason: REASON_FLOW_CREATED; REASON_TO_BACKEND when another CPU was
 * faster with a packet of the same tuple; else why there is no flow. */
static __always_inline __u32 create(struct xdp_md *ctx, struct scratch *s, const struct config *c, __u16 chosen, __u64 hash)
{
	__u64 seed = mix(hash, (__u64)chosen << 32 | s->now, c->index_secret);
	const struct backend *b = backend_get(chosen);
	__u32 *full, why;
	int error;

	if (!chosen || !b || !(b->flags & BACKEND_KEEP))
		return REASON_NO_BACKEND;
	if (!(s->family == 4 ? c->snat_v4 : c->snat_v6))
		return REASON_NO_SNAT_ADDRESS;
	why = obstacle(s, b->ifindex, b->mtu);
	if (why)
		return why;
	full = full_mark(s, c, chosen, seed);
	if (full && *full - tick(c) - 1 < FULL_TICKS) {
		if (!glance(s, c, b, seed))
			return REASON_NO_SOURCE_PORT; /* a search has just failed: SYNs are refused without another */
		*full = 0;
	}
	fill_flow(s, chosen);
	first_way_back(ctx, s, c, &s->reply);
	why = claim(s, c, b, seed);
	if (why == REASON_NO_SOURCE_PORT && full)
		*full = tick(c) + FULL_TICKS;
	if (why)
		return why;
	error = s->displaces ? flow_put(&s->tuple.flow, &s->flow) : flow_claim(&s->tuple.flow, &s->flow);
	if (!error)
		return REASON_FLOW_CREATED;
	reply_delete(&s->reply_key);
	return error == -EEXIST ? REASON_TO_BACKEND : REASON_FLOW_TABLE_FULL;
}

/* A SYN goes to the backend of an established flow, where a challenge ACK settles it. A backend that has forgotten the flow would shake
 * hands: a new flow where the ring sends none, for instance on a draining backend that was rebooted. */
static __always_inline void note_left(struct scratch *s, const struct flow *f, bool left)
{
	struct reply *r = reply_of(s, f);

	if (r)
		r->left = left;
}

/* Why the packet may not start a flow, 0 when it may */
static __always_inline __u32 admission(struct scratch *s, const struct config *c)
{
	if (!(s->word & SERVICE_LIMITED))
		return 0;
	admit(s, c);
	return s->refused;
}

/* Whether the packet goes along the flow `f` that is there, NULL when none is, or what else becomes of it: REASON_TO_BACKEND,
 * REASON_FLOW_CREATED when that flow starts anew, REASON_CLOSED, why there may be no new flow, or 0 when there has to be another flow. */
static __always_inline __u32 along(struct scratch *s, const struct config *c, struct flow *f, __u16 chosen)
{
	const struct backend *b = f ? backend_get(f->backend) : NULL;
	enum way way;
	__u32 why;

	if (!f || !b || flow_expired(s, c, f))
		return admission(s, c);
	way = way_of(s, f, b, chosen);
	if (way == WAY_FOLLOW) {
		if (s->tuple.protocol == PROTOCOL_TCP && s->sequence != f->sequence)
			note_left(s, f, chosen != f->backend);
		return REASON_TO_BACKEND;
	}
	if (way == WAY_LATE)
		return REASON_CLOSED;
	why = admission(s, c);
	if (why)
		return why;
	if (way == WAY_RESTART && restart(s, f))
		return REASON_FLOW_CREATED;
	displace(s, f);
	return 0;
}

static __always_inline __u32 new_flow(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u64 hash = tuple_hash(&s->tuple, c->slot_secret);
	__u16 chosen = ring_backend(s->word, slot_pick(s->word, &s->tuple, hash, c->slot_secret));
	struct flow *f = flow_get(&s->tuple.flow);
	const struct backend *b;
	__u32 reason = client_fault(s, c);

	if (reason)
		return refuse(s, reason);
	if (s->word & SERVICE_AFFINITY)
		chosen = affinity_choose(s, c, chosen);
	s->displaces = !!f;
	reason = along(s, c, f, chosen);
	if (!reason) {
		reason = create(ctx, s, c, chosen, hash);
		f = reason == REASON_FLOW_CREATED ? &s->flow : flow_get(&s->tuple.flow);
	}
	if (reason == REASON_NO_BACKEND)
		return no_backend(ctx, s, DROP(reason));
	if (reason != REASON_FLOW_CREATED && reason != REASON_TO_BACKEND)
		return stopped(ctx, s, reason);
	if (f && s->word & SERVICE_AFFINITY && reason == REASON_FLOW_CREATED)
		affinity_keep(s, f->backend);
	b = f ? backend_get(f->backend) : NULL;
	if (!b)
		return DROP(REASON_FLOW_TABLE_FULL);
	reason = send_to_backend(ctx, s, c, f, b, reason);
	if (has_syn(s))
		clamp_mss(ctx, s, s->service, b->mtu);
	return reason;
}

#endif
