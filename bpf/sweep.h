/* SPDX-License-Identifier: Apache-2.0 */
/* The sweep: counts flows by backend and frees the records of those that ended. The agent runs it, on no interface: each run looks at
 * SWEEP_STEP records. Only one sweep may run at a time. */
#ifndef L4LB_SWEEP_H
#define L4LB_SWEEP_H

/* Nobody has answered it, and it is not that young */
static __always_inline bool is_unanswered(const struct sweep *w, const struct flow *f, __u32 word)
{
	return (word_state(word) == FLOW_SYN || word_state(word) == FLOW_UDP) && aged(w->now, f->last_sequence, ANSWER_SECONDS);
}

/* Closed before the backend said anything but RST; not because the client's next SYN went elsewhere */
static __always_inline bool is_refused(__u32 word)
{
	__u8 flags = word_flags(word) & (FLOW_RESET | FLOW_HEARD | FLOW_LEFT | FLOW_DISPLACED);

	return word_state(word) == FLOW_CLOSED && flags == FLOW_RESET;
}

static __always_inline void count_flow(const struct sweep *w, const struct flow *f, __u32 word, bool live)
{
	struct flow_count *count = flow_count_get(f->backend);

	if (!count)
		return;
	if (count->number != w->number) {
		count->live = count->entries = 0;
		count->unanswered = count->refused = 0;
		count->number = w->number;
	}
	count->live += live;
	count->entries++;
	if (live && is_unanswered(w, f, word) && count->unanswered < 0xffff)
		count->unanswered++;
	if (is_refused(word) && count->refused < 0xffff)
		count->refused++;
}

/* Takes a held flow's record out of its slot; false when a packet was faster and another flow has it */
static __always_inline bool leave_slot(const struct config *c, __u32 word, __u32 id, __u64 hash)
{
	struct unanswered *u = unanswered_get(hash & c->unanswered_mask);
	__u64 *slot, there;

	if (!(word_flags(word) & FLOW_HELD))
		return true;
	if (!u)
		return false;
	slot = &u->slot[word >> FLOW_PLACE_SHIFT & (SLOTS - 1)];
	there = *(volatile __u64 *)slot;
	return there >> SLOT_ID_SHIFT == id && __sync_bool_compare_and_swap(slot, there, slot_word(0, there, 0));
}

/* Frees a record; false when a packet was faster */
static __always_inline bool flow_free(struct scratch *s, const struct config *c, struct flow *f, __u32 word, __u32 id)
{
	__u64 hash;

	old_tuple(s, f, id);
	hash = tuple_hash(&s->old, c->slot_secret);
	if (!leave_slot(c, word, id, hash) || !word_change(f, word, word_with(word + (1U << FLOW_VERSION_SHIFT), FLOW_NONE, 0)))
		return false;
	index_leave(s, c, f, id, hash);
	id_give(c, id);
	return true;
}

static __always_inline void sweep_record(struct scratch *s, const struct config *c, struct sweep *w, __u32 id)
{
	struct flow *f = flow_get(id);
	__u32 word, timeout;

	if (!f)
		return;
	word = read_word(f);
	if (!word_state(word))
		return;
	timeout = flow_timeout(c, word_state(word), word_flags(word), f->service);
	if (aged(w->now, f->seen, timeout + LINGER) && flow_free(s, c, f, word, id)) {
		w->deleted++;
		return;
	}
	w->flows++;
	count_flow(w, f, word, word_state(word) != FLOW_CLOSED && !aged(w->now, f->seen, timeout));
}

static __always_inline int sweep_step(struct scratch *s, const struct config *c)
{
	struct sweep *w = sweep_get(0);

	if (!w)
		return XDP_DROP;
#pragma clang loop unroll(disable)
	for (int i = 0; i < SWEEP_STEP; i++) {
		__u32 id = w->next;

		if (id >= w->end)
			break;
		w->next = id + 1;
		sweep_record(s, c, w, id);
	}
	return XDP_PASS;
}

#endif
