/* SPDX-License-Identifier: Apache-2.0 */
/* How a flow gets its record: free ids and the slots of unanswered flows. Each step is one compare-and-swap, and who loses it goes on as if
 * the other had been there all along. */
#ifndef L4LB_CLAIM_H
#define L4LB_CLAIM_H

#define TAKE_TRIES 8 /* of an id, while other CPUs take theirs */
#define SLOT_TRIES 3

/* A free id, 0 when there is none */
static __always_inline __u32 id_take(const struct config *c)
{
	struct pool *p = pool_get(0);

	if (!p)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < TAKE_TRIES; i++) {
		__u64 taken = *(volatile __u64 *)&p->taken, given = *(volatile __u64 *)&p->given;
		__u32 *spare = spare_get((taken - c->flow_ids) & c->spare_mask);
		__u32 id = taken < c->flow_ids ? taken + 1 : spare ? *(volatile __u32 *)spare : 0;

		if (taken >= c->flow_ids + given)
			return 0;
		if (__sync_bool_compare_and_swap(&p->taken, taken, taken + 1))
			return id;
	}
	return 0;
}

/* Only the sweep gives ids back, and there is one sweep */
static __always_inline void id_give(const struct config *c, __u32 id)
{
	struct pool *p = pool_get(0);
	__u32 *spare = p ? spare_get(p->given & c->spare_mask) : NULL;

	if (!spare)
		return;
	*(volatile __u32 *)spare = id;
	*(volatile __u64 *)&p->given = p->given + 1;
}

/* The client's tuple of the flow in `f`, into s->old */
static __always_inline void old_tuple(struct scratch *s, const struct flow *f, __u32 id)
{
	struct tuple *t = &s->old;
	const struct flow_v6 *v6 = flow_v6_get(id);

	if (f->client || !v6) {
		mapped_address(&t->source, f->client);
		mapped_address(&t->destination, f->vip);
	} else {
		copy_address(&t->source, &v6->client);
		copy_address(&t->destination, &v6->vip);
	}
	t->source_port = f->client_port;
	t->destination_port = f->vip_port;
	t->protocol = f->word;
}

/* The same for the backend's tuple */
static __always_inline void old_reply_tuple(struct scratch *s, const struct flow *f, __u32 id)
{
	struct tuple *t = &s->old;
	const struct flow_v6 *v6 = flow_v6_get(id);

	if (f->client || !v6) {
		mapped_address(&t->source, f->backend_address);
		mapped_address(&t->destination, f->snat);
	} else {
		copy_address(&t->source, &v6->backend);
		copy_address(&t->destination, &v6->snat);
	}
	t->source_port = f->backend_port;
	t->destination_port = f->snat_port;
}

/* Takes a flow out of the index, the client's side first: until the backend's is out the port is taken. Expects that nobody else may have
 * its record; `hash` is that of s->old, its client's tuple */
static __always_inline void index_leave(struct scratch *s, const struct config *c, const struct flow *f, __u32 id, __u64 hash)
{
	index_change(c, hash, index_entry(hash, id), 0);
	old_reply_tuple(s, f, id);
	hash = tuple_hash(&s->old, c->slot_secret);
	index_change(c, hash, index_entry(hash, id), 0);
}

static __always_inline __u32 slot_age(const struct config *c, __u64 slot)
{
	return (tick(c) - (__u32)slot) & SLOT_STAMP_MASK;
}

/* Looks through a bucket for an empty slot: s->empty, SLOTS when none. No branch: how full it is cannot be foretold, and a branch that the
 * CPU got wrong would wait for the bucket */
static __always_inline void look_for_empty(struct scratch *s, const struct unanswered *u)
{
	__u32 place = SLOTS;

#pragma unroll
	for (int i = 0; i < SLOTS; i++)
		place ^= (place ^ i) & if_zero(*(const volatile __u64 *)&u->slot[i] >> SLOT_ID_SHIFT);
	*(volatile __u8 *)&s->empty = place;
}

/* Looks through a bucket for the stalest flow: s->best (SLOTS when none), s->best_age */
static __always_inline void look_for_stalest(struct scratch *s, const struct config *c, const struct unanswered *u)
{
	s->best = SLOTS;
	s->best_age = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < SLOTS; i++) {
		__u64 slot = *(const volatile __u64 *)&u->slot[i];

		if (slot >> SLOT_ID_SHIFT && slot >> SLOT_ID_SHIFT != SLOT_BUSY && (s->best == SLOTS || slot_age(c, slot) > s->best_age)) {
			s->best_age = slot_age(c, slot);
			s->best = i;
		}
	}
}

/* Makes a slot this CPU's own, with a record: a free one into an empty slot, or else that of the stalest flow of the bucket, which ends.
 * Sets s->flow_id and s->best, the slot; the slot stays busy until flow_settle(). False when neither is there. */
static __always_inline bool slot_take(struct scratch *s, const struct config *c, struct unanswered *u)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < SLOT_TRIES; i++) {
		__u64 there, *slot;

		look_for_empty(s, u);
		if (s->empty < SLOTS) {
			slot = &u->slot[s->empty & (SLOTS - 1)];
			there = *(volatile __u64 *)slot;
			if (there >> SLOT_ID_SHIFT || !__sync_bool_compare_and_swap(slot, there, slot_word(SLOT_BUSY, there, 0)))
				continue;
			s->flow_id = id_take(c);
			if (s->flow_id) {
				s->best = s->empty;
				return true;
			}
			*(volatile __u64 *)slot = slot_word(0, there, 0);
		}
		look_for_stalest(s, c, u);
		if (s->best >= SLOTS)
			return false;
		slot = &u->slot[s->best & (SLOTS - 1)];
		there = *(volatile __u64 *)slot;
		s->flow_id = there >> SLOT_ID_SHIFT;
		if (s->flow_id && s->flow_id != SLOT_BUSY &&
		    __sync_bool_compare_and_swap(slot, there, slot_word(SLOT_BUSY, there, 0)))
			return true;
	}
	return false;
}

/* Ends the flow that had the record until now, if any */
static __always_inline void flow_evict(struct scratch *s, const struct config *c, struct flow *f, __u32 id)
{
	__u32 word = read_word(f);
	struct traffic *t;
	__u64 hash;

	/* Another version: packets of that flow that are under way on other CPUs find out */
	*(volatile __u32 *)&f->word = word_with(word + (1U << FLOW_VERSION_SHIFT), FLOW_NONE, 0);
	if (!word_state(word))
		return;
	t = flow_expired(c, f, word, s->now) ? NULL : service_traffic(s->service);
	if (t)
		t->evicted++;
	old_tuple(s, f, id);
	hash = tuple_hash(&s->old, c->slot_secret);
	index_leave(s, c, f, id, hash);
}

/* Reads a word of a line that is needed soon. Lines that are asked for before any of them is needed come from memory together, not one
 * after the other: no CPU looks ahead past a compare-and-swap. */
static __always_inline void fetch(const void *line)
{
	__u32 word = *(const volatile __u32 *)line;

	asm volatile("" ::"r"(word));
}

/* Of the slot and the record that flow_claim() is about to take */
static __always_inline void fetch_record(const struct scratch *s, const struct config *c)
{
	const struct unanswered *u = unanswered_get(s->hash & c->unanswered_mask);
	const struct pool *p = pool_get(0);
	const __u32 *spare;
	const struct flow *f;
	__u64 taken;

	if (!u || !p)
		return;
	fetch(&u->slot[0]);
	fetch(&u->slot[SLOTS / 2]);
	taken = *(const volatile __u64 *)&p->taken;
	spare = spare_get((taken - c->flow_ids) & c->spare_mask);
	f = flow_get(taken < c->flow_ids ? taken + 1 : spare ? *(const volatile __u32 *)spare : 0);
	if (f)
		fetch(f);
}

/* A record for a new flow of the client's tuple, whose hash is s->hash: s->flow_id; nothing leads to it yet. NULL when there is none */
static __always_inline struct flow *flow_claim(struct scratch *s, const struct config *c)
{
	struct unanswered *u = unanswered_get(s->hash & c->unanswered_mask);
	struct flow *f;

	if (!u || !slot_take(s, c, u))
		return NULL;
	f = flow_get(s->flow_id);
	if (f)
		flow_evict(s, c, f, s->flow_id);
	return f;
}

/* The slot of the claim may be taken by others from now on: with the new flow in it, or with an idle record that is the first to go */
static __always_inline void flow_settle(struct scratch *s, const struct config *c, bool idle)
{
	struct unanswered *u = unanswered_get(s->hash & c->unanswered_mask);
	__u64 *slot = u ? &u->slot[s->best & (SLOTS - 1)] : NULL;

	if (slot)
		*(volatile __u64 *)slot = slot_word(s->flow_id, *slot, idle ? tick(c) - SLOT_IDLE_AGE : tick(c));
}

#endif
