/* SPDX-License-Identifier: Apache-2.0 */
/* The nat_new tail: a TCP SYN, or a UDP packet without a flow. Decides whether it goes along a flow that is there, and else makes one: a
 * record, then a port, then the client's entry in the index, which makes the flow; what was claimed is given up when that fails. */
#ifndef L4LB_NEW_FLOW_H
#define L4LB_NEW_FLOW_H

#define RETRANSMISSION_SECONDS 3

enum way {
	WAY_NEW,     /* a new flow, by the ring */
	WAY_FOLLOW,  /* along the flow that is there */
	WAY_RESTART, /* a new connection in the record that is there */
	WAY_LATE,    /* a late duplicate of the closed flow's SYN */
};

/* What a SYN for a live flow is (a SYN obeys the ring, retransmissions and forgeries excepted) */
static __always_inline enum way syn_way(const struct scratch *s, const struct flow *f, __u16 chosen)
{
	bool same = s->sequence == f->sequence, stays = chosen == f->backend;
	__u8 state = word_state(s->flow_word);

	if (state == FLOW_ESTABLISHED || state == FLOW_CLOSING) {
		/* The backend's challenge ACK settles it (RFC 5961 4.2): a forged SYN cuts nobody. Unless it has shaken hands instead */
		return stays || !(word_flags(s->flow_word) & FLOW_RESET) ? WAY_FOLLOW : WAY_NEW;
	}
	if (state == FLOW_CLOSED) {
		if (word_flags(s->flow_word) & FLOW_RESET)
			return WAY_NEW;
		if (same)
			return WAY_LATE;
		/* as a host in TIME-WAIT (RFC 6191, without timestamps); else another port, never a refusal */
		return stays && newer(s->sequence & ~0U << REACH_SHIFT, (__u32)f->client_reach << REACH_SHIFT) ? WAY_RESTART : WAY_NEW;
	}
	if (!same)
		return stays ? WAY_RESTART : WAY_NEW;
	if (stays || state == FLOW_ANSWERED || !aged(s->now, f->last_sequence, RETRANSMISSION_SECONDS))
		return WAY_FOLLOW;
	return WAY_NEW;
}

static __always_inline enum way way_of(const struct scratch *s, const struct flow *f, const struct backend *b, __u16 chosen)
{
	if (!(b->flags & BACKEND_KEEP))
		return WAY_NEW;
	return s->tuple.protocol == PROTOCOL_TCP ? syn_way(s, f, chosen) : WAY_FOLLOW;
}

/* A new connection in the record that an earlier one of the same tuple and backend left; false when another CPU has changed it */
static __always_inline bool restart(struct scratch *s, struct flow *f)
{
	__u32 word = word_with(s->flow_word, FLOW_SYN, word_flags(s->flow_word) & FLOW_HELD);

	if (!word_change(f, s->flow_word, word))
		return false;
	s->flow_word = word;
	f->sequence = s->sequence;
	f->last_sequence = s->now;
	return true;
}

/* All of a new record but the word, the SNAT address and its port */
static __always_inline bool flow_fill(struct scratch *s, struct flow *f, const struct backend *b, __u16 backend)
{
	const struct tuple *t = &s->tuple;
	struct flow_v6 *v6 = flow_v6_get(s->flow_id);
	bool v4 = s->family == 4;

	f->client = v4 ? t->source.word[3] : 0;
	f->vip = v4 ? t->destination.word[3] : 0;
	f->backend_address = v4 ? b->address.word[3] : 0;
	f->snat = 0;
	if (!v6)
		return false;
	if (!v4) {
		copy_address(&v6->client, &t->source);
		copy_address(&v6->vip, &t->destination);
		copy_address(&v6->backend, &b->address);
	}
	f->client_port = t->source_port;
	f->vip_port = t->destination_port;
	f->backend_port = port_at(b, t->destination_port);
	f->backend = backend;
	f->service = s->service;
	f->seen = f->last_sequence = s->now;
	f->sequence = s->sequence;
	return true;
}

/* The record can be found by packets from now on, once the index leads to it */
static __always_inline void flow_open(struct scratch *s, struct flow *f)
{
	__u8 state = s->tuple.protocol == PROTOCOL_TCP ? FLOW_SYN : FLOW_UDP;
	__u32 version = read_word(f) >> FLOW_VERSION_SHIFT << FLOW_VERSION_SHIFT;

	s->flow_word = word_with(version | (__u32)s->best << FLOW_PLACE_SHIFT | s->tuple.protocol, state, FLOW_HELD);
	*(volatile __u32 *)&f->word = s->flow_word;
}

/* What was claimed is given up: the slot keeps the record */
static __always_inline void flow_give_up(struct scratch *s, const struct config *c, struct flow *f)
{
	*(volatile __u32 *)&f->word = word_with(read_word(f), FLOW_NONE, 0);
	flow_settle(s, c, true);
}

/* The flow that the client's tuple had until now; both NULL and 0 when there was none */
struct earlier {
	struct flow *flow;
	__u32 id;
	__u32 word;
};

/* Makes the client's tuple lead to the new flow. False when another CPU was faster with a packet of the same tuple */
static __always_inline bool flow_enter(struct scratch *s, const struct config *c, const struct earlier *e)
{
	if (!e->id || e->id == s->flow_id) /* none, or its record was the one to go */
		return index_claim(s, c, s->hash, s->flow_id);
	if (!index_change(c, s->hash, index_entry(s->hash, e->id), index_entry(s->hash, s->flow_id)))
		return false;
	if (e->flow)
		flow_mark(e->flow, e->word, FLOW_DISPLACED, 0);
	return true;
}

/* Why no flow can begin at the backend, 0 when one can */
static __always_inline __u32 no_beginning(struct scratch *s, const struct config *c, const struct backend *b, __u16 chosen)
{
	if (!chosen || !b || !(b->flags & BACKEND_KEEP))
		return REASON_NO_BACKEND;
	if (!keeps_client(s) && !(s->family == 4 ? c->snat_v4 : c->snat_v6))
		return REASON_NO_SNAT_ADDRESS;
	return obstacle(s, b->ifindex, b->mtu);
}

/* Makes a flow, whose record is *made. Returns the packet's reason: REASON_FLOW_CREATED; REASON_TO_BACKEND when another CPU was faster with
 * a packet of the same tuple, RACE_LOST when it took the port, NONE_FREE; else why there is no flow. */
static __always_inline __u32 create(struct xdp_md *ctx, struct scratch *s, const struct config *c, __u16 chosen, const struct earlier *e,
				    struct flow **made)
{
	__u64 seed = port_seed(s, c, chosen);
	const struct backend *b = backend_get(chosen);
	__u32 why = no_beginning(s, c, b, chosen), *full;
	struct flow *f;

	if (why || !b)
		return why;
	full = keeps_client(s) ? NULL : full_mark(s, c, chosen, seed);
	if (full && taken_for_full(c, full)) {
		if (!glance(s, c, b, seed))
			return NONE_FREE;
		*full = 0;
	}
	fetch_record(s, c);
	fetch_port(s, c, b, seed);
	f = *made = flow_claim(s, c);
	if (!f || !flow_fill(s, f, b, chosen))
		return REASON_FLOW_TABLE_FULL;
	first_way_back(ctx, s, c, f);
	why = port_search(s, c, f, b, seed, e->id);
	if (why) {
		flow_give_up(s, c, f);
		return why;
	}
	flow_open(s, f);
	if (flow_enter(s, c, e)) {
		flow_settle(s, c, false);
		return REASON_FLOW_CREATED;
	}
	port_release(s, c);
	flow_give_up(s, c, f);
	return REASON_TO_BACKEND;
}

/* Why the packet may not start a flow, 0 when it may */
static __always_inline __u32 admission(struct scratch *s, const struct config *c)
{
	if (!(s->word & SERVICE_LIMITED) || s->races)
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

	if (!f || !b || flow_expired(c, f, s->flow_word, s->now))
		return admission(s, c);
	way = way_of(s, f, b, chosen);
	if (way == WAY_FOLLOW) {
		/* A SYN goes to the backend of an established flow, where a challenge ACK settles it. A backend that has forgotten the flow
		 * would shake hands: a new flow where the ring sends none, for instance on a draining backend that was rebooted. */
		if (s->tuple.protocol == PROTOCOL_TCP && (s->sequence != f->sequence || word_flags(s->flow_word) & FLOW_LEFT)) {
			flow_mark(f, s->flow_word, chosen != f->backend ? FLOW_LEFT : 0, chosen == f->backend ? FLOW_LEFT : 0);
			f->sequence = s->sequence; /* by which its SYN+ACK is known */
		}
		return REASON_TO_BACKEND;
	}
	if (way == WAY_LATE)
		return REASON_CLOSED;
	why = admission(s, c);
	if (why)
		return why;
	if (way == WAY_RESTART && restart(s, f))
		return REASON_FLOW_CREATED;
	flow_close(f, s->flow_word); /* what is displaced only keeps its port */
	return 0;
}

static __always_inline __u32 new_flow(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	const struct backend *b;
	__u32 reason = client_fault(s, c);
	struct earlier e = {};
	struct flow *f;
	__u16 chosen;

	if (reason)
		return refuse(s, reason);
	s->refused = keeps_client(s) && from_kept(s, c) ? REASON_CLIENT_IS_BACKEND : 0;
	asm volatile("" ::: "memory");
	if (s->refused)
		return DROP(s->refused);
	s->hash = tuple_hash(&s->tuple, c->slot_secret);
	chosen = ring_backend(s->word, slot_pick(s->word, &s->tuple, s->hash, c->slot_secret));
	if (s->word & SERVICE_AFFINITY)
		chosen = affinity_choose(s, c, chosen);
	f = flow_record(s, c, s->hash, true);
	if (f) {
		e.flow = f;
		e.id = s->flow_id;
		e.word = s->flow_word;
	}
	reason = along(s, c, f, chosen);
	if (!reason) {
		reason = create(ctx, s, c, chosen, &e, &f);
		if (reason == REASON_TO_BACKEND)
			f = flow_record(s, c, s->hash, true);
	}
	if (reason == RACE_LOST)
		return start_again(ctx, s);
	if (reason == NONE_FREE)
		return ask_for_port(ctx, s, chosen);
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
