/* SPDX-License-Identifier: Apache-2.0 */
/* The nat_port tail: no port that a new NAT flow tried is free. A flow without an answer that has had one of them for a while gives it
 * up, and the new flow begins again: else a flood of SYNs, which needs no more than 13,000 a second for each backend and SNAT address,
 * would keep everybody out. After a search that failed just now only one port is looked at, and who has it may still give it up: a first
 * SYN comes in as easily as one of the flood. */
#ifndef L4LB_GIVE_PORT_H
#define L4LB_GIVE_PORT_H

#define GIVER_LOOKS 3 /* at flows without an answer: what one more costs is three cold lines */
#define GIVER_TICKS 2 /* of 1/16 s: younger ones keep their port, or newcomers would end every handshake before it is over */

/* The slot of `unanswered` that the flow of a record has, if it has one */
static __always_inline __u64 *slot_of(struct scratch *s, const struct config *c, const struct flow *f, __u32 id)
{
	struct unanswered *u;

	old_tuple(s, f, id);
	u = unanswered_get(tuple_hash(&s->old, c->slot_secret) & c->unanswered_mask);
	return u ? &u->slot[read_word(f) >> FLOW_PLACE_SHIFT & (SLOTS - 1)] : NULL;
}

/* Remembers the holder of a port when it has no answer, and is older than the one remembered */
static __always_inline void look_at(struct scratch *s, const struct config *c, __u32 holder)
{
	struct giver *g = &s->giver;
	const struct flow *f = flow_get(holder);
	__u64 *slot, there;
	__u32 age;

	/* A pending holder is beyond the last id */
	if (!f || !word_state(read_word(f)) || !(word_flags(read_word(f)) & FLOW_HELD))
		return;
	slot = slot_of(s, c, f, holder);
	there = slot ? *(volatile __u64 *)slot : 0;
	if (there >> SLOT_ID_SHIFT != holder)
		return; /* it is another flow's by now, or has been answered */
	g->looks++;
	age = slot_age(c, there);
	if (age < GIVER_TICKS || age <= g->age)
		return;
	g->id = holder;
	g->age = age;
}

/* Ends the flow in a record, unless a packet was faster. The slot keeps the record, which is the first to go */
static __always_inline void end_giver(struct scratch *s, const struct config *c, __u32 id)
{
	struct flow *f = flow_get(id);
	__u64 *slot = f ? slot_of(s, c, f, id) : NULL, there;

	if (!slot)
		return;
	there = *(volatile __u64 *)slot;
	if (there >> SLOT_ID_SHIFT != id || !__sync_bool_compare_and_swap(slot, there, slot_word(SLOT_BUSY, there, 0)))
		return;
	flow_evict(s, c, f, id);
	*(volatile __u64 *)slot = slot_word(id, *slot, tick(c) - SLOT_IDLE_AGE);
}

/* Looks at who has the ports of the tries from `first` on: s->giver */
static __always_inline void find_giver(struct scratch *s, const struct config *c, const struct backend *b, __u64 seed, __u32 first)
{
	volatile struct giver *g = &s->giver;

	g->id = g->age = g->looks = 0;
#pragma clang loop unroll(disable)
	for (__u32 try = 0; try < PORT_TRIES; try++) {
		if (try < first)
			continue;
		if (g->looks >= GIVER_LOOKS || !fill_try(s, c, b, seed, try))
			break;
		look_at(s, c, port_holder(s, c));
	}
}

static __always_inline __u32 give_port(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u64 seed = port_seed(s, c, s->chosen);
	const struct backend *b = backend_get(s->chosen);
	__u32 *full = full_mark(s, c, s->chosen, seed);
	bool glanced = taken_for_full(c, full);

	if (!b)
		return DROP(REASON_NO_SOURCE_PORT);
	find_giver(s, c, b, seed, glanced ? GLANCE : 0);
	if (s->giver.id) {
		end_giver(s, c, s->giver.id);
		return start_again(ctx, s);
	}
	if (full && !glanced)
		*full = tick(c) + FULL_TICKS;
	return DROP(REASON_NO_SOURCE_PORT);
}

#endif
