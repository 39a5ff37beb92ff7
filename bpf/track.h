/* SPDX-License-Identifier: Apache-2.0 */
/* Flows of DSR and ENCAP services that a change put at risk: which backend a packet in an at-risk slot goes to, and which entries of the
 * flow table that leaves. The invariant: a live flow without an entry sits at its slot of the ring `before`.
 *
 * A SYN never takes the entry of a live flow, it takes a way of its own beside it; a packet belongs to the way whose sequence is nearest.
 * So a forged SYN, or SYN and ACK, cuts nobody. Entries are shared between CPUs without a lock: the word is stored whole, what else is in
 * an entry only advises. */
#ifndef L4LB_TRACK_H
#define L4LB_TRACK_H

#define WAYS 4
#define MOST_WAYS 3        /* of one tuple */

/* The bucket of a tuple; all of the hash decides */
static __always_inline struct flow_bucket *flow_bucket(const struct config *c, __u64 hash)
{
	return flow_bucket_get(hash * MIX_2 >> 32 & c->flow_mask);
}

/* The 48 bits that an entry knows its tuple by; the upper 32 are the slot's */
static __always_inline __u64 flow_tag(__u64 hash, __u32 pick)
{
	return (__u64)pick << 16 | (__u16)hash;
}

static __always_inline void note_way(struct scratch *s, const struct flow_entry *e, __u8 i, __u16 now)
{
	struct ways *w = &s->ways;
	__u32 distance = s->tuple.protocol == PROTOCOL_TCP ? apart(s->sequence, e->sequence) : 0;
	const struct backend *b = backend_get((__u16)entry_word(e));

	w->count++;
	if (distance < w->distance) {
		w->distance = distance;
		w->near = i;
	}
	if (e->sequence == s->sequence + 1 && b && b->flags & BACKEND_ELIGIBLE)
		w->same = i;
	w->mine |= 1 << i;
	w->first |= e->rank == 1;
	if ((__u16)entry_word(e) != now)
		w->elsewhere = true;
}

/* The ways of the packet's tuple. Entries of backends that keep no flows count as none, but for those of TCP at one that is to RESET them:
 * that is what they are to hear. So do those of another service's backend: after 18 hours a stamp looks new again, and a backend's id may
 * be another one's */
static __always_inline void find_ways(struct scratch *s, const struct config *c, const struct flow_bucket *bucket, __u64 tag, __u16 now)
{
	struct ways *w = &s->ways;
	const struct service *service = service_get(s->service);
	__u32 idle = service ? service->idle_seconds : 0;
	__u16 known = BACKEND_KEEP | (BACKEND_RESET & if_equal(s->tuple.protocol, PROTOCOL_TCP));

	__builtin_memset(w, 0, sizeof(*w));
	w->distance = NEAR;
	w->near = w->same = NO_WAY;
#pragma unroll
	for (int i = 0; i < WAYS; i++) {
		const struct flow_entry *e = &bucket->entry[i];
		const struct backend *b;

		if (entry_word(e) >> 16 != tag)
			continue;
		b = backend_get((__u16)entry_word(e));
		if (!(__u16)entry_word(e) || !b || !(b->flags & known) || b->service != s->service ||
		    tracked_age(s, e) > tracked_timeout(c, e->state, idle))
			continue;
		note_way(s, e, i, now);
	}
}

/* Sets the entry to write into: a free one; else, when it `must` be, the stalest of those that are unconfirmed, or brief, or of all */
static __always_inline void find_place(struct scratch *s, const struct config *c, const struct flow_bucket *bucket, bool must)
{
	struct ways *w = &s->ways;

	w->place = NO_WAY;
	w->worth = must ? 0 : WORTH_FREE - 1;
#pragma unroll
	for (int i = 0; i < WAYS; i++) {
		const struct flow_entry *e = &bucket->entry[i];
		__u32 worth = is_free(s, c, e) ? WORTH_FREE : entry_worth(s, e);

		if (worth <= w->worth)
			continue;
		w->worth = worth;
		w->place = i;
	}
}

#define OWN_UNCONFIRMED (1 << 18)
#define OWN_ENDED (1 << 19)

/* What giving a way's place to another one of its tuple is worth, 0 when it must stay. One that has ended goes first, then the newest
 * unconfirmed one, of SYNs only such as SYNs have made: a flood of forgeries takes the places of its own. Then the stalest of RANK_LAST. */
static __always_inline __u32 own_worth(const struct flow_entry *e, __u32 age, bool syn)
{
	__u32 last = if_equal(e->rank, RANK_LAST), ended = if_equal(e->state, TRACKED_FIN) | if_equal(e->state, TRACKED_RST);
	__u32 open = (if_equal(e->state, TRACKED_SYN) | if_equal(e->state, TRACKED_PINNED)) & (last | (__u32)syn - 1);

	return ((OWN_ENDED + age) & ended) | ((OWN_UNCONFIRMED - age) & open) | ((1 + age) & last & ~ended & ~open);
}

static __always_inline bool goes_on(const struct flow_entry *e)
{
	return e->state == TRACKED_LIVE || e->state == TRACKED_LASTING;
}

/* Sets the entry to write into to a way of the tuple itself, NO_WAY when none may go. A client that comes a third time with one port has
 * its newest connection in the only one of RANK_LAST: when an earlier one has been silent for as long, that of rank 1 or else the stalest,
 * that is over rather. */
static __always_inline void own_place(struct scratch *s, const struct flow_bucket *bucket, bool syn)
{
	volatile struct ways *w = &s->ways;
	__u32 lasts = 0;

	w->own = w->other = 0;
#pragma unroll
	for (__u32 i = 0; i < WAYS; i++) {
		const struct flow_entry *e = &bucket->entry[i];
		__u32 age = tracked_age(s, e), mine = ~if_equal(w->mine & 1 << i, 0);
		__u32 own = (own_worth(e, age, syn) << 2 | i) & mine, other = ((1 + age) << 2 | i) & mine & if_equal(e->rank, w->first);

		lasts += mine & if_equal(e->rank, RANK_LAST);
		if (own > w->own)
			w->own = own;
		if (other > w->other)
			w->other = other;
	}
	if (lasts == -1U && w->own >> 2 <= w->other >> 2)
		w->own = w->other;
	w->place = w->own >> 2 ? w->own & (WAYS - 1) : NO_WAY;
	w->worth = goes_on(&bucket->entry[w->own & (WAYS - 1)]) ? 0 : WORTH_FREE;
}

/* Into s->ways.place */
static __always_inline void write_entry(const struct scratch *s, struct flow_bucket *bucket, __u64 word, __u8 state, __u8 rank)
{
	struct flow_entry *e = &bucket->entry[s->ways.place & (WAYS - 1)];
	struct traffic *t = service_traffic(s->service);
	__u32 end = s->sequence + (state == TRACKED_SYN ? 1 : s->segment);

	e->sequence = s->tuple.protocol == PROTOCOL_TCP ? end : 0;
	e->stamp = s->now;
	e->state = state;
	e->rank = rank;
	*(volatile __u64 *)&e->word = word;
	if (!t)
		return;
	t->pinned++;
	t->evicted += s->ways.worth < WORTH_UNCONFIRMED;
}

/* Whether the flow has spoken in a second before this one, too */
static __always_inline bool lasts(const struct scratch *s, const struct flow_entry *e)
{
	return e->state == TRACKED_LASTING || (e->state == TRACKED_LIVE && e->stamp != (__u16)s->now);
}

/* A packet of a way: what it expects, its stamp and its state follow. A FIN or RST counts only where it is expected, and only shortens the
 * entry's life; whatever comes later than it restores the flow. */
static __always_inline void touch(const struct scratch *s, struct flow_entry *e)
{
	__u32 end = s->sequence + s->segment;
	__s32 ahead = end - e->sequence;
	__u8 state = lasts(s, e) ? TRACKED_LASTING : TRACKED_LIVE;

	if (s->tuple.protocol != PROTOCOL_TCP) {
		state = e->stamp != (__u16)s->now ? TRACKED_UDP : e->state; /* two packets at once are easily forged */
		ahead = 0;
	} else if (s->tcp_flags & TCP_RST) {
		if (s->sequence != e->sequence)
			return;
		state = TRACKED_RST;
	} else if (s->tcp_flags & TCP_FIN) {
		if (s->sequence == e->sequence || !ahead)
			state = TRACKED_FIN;
	} else if (e->state == TRACKED_FIN && !s->segment && !ahead) {
		state = TRACKED_FIN;
	}
	if (ahead > 0 && !(s->tcp_flags & TCP_RST))
		e->sequence += ahead > NEAR_STEP ? NEAR_STEP : ahead;
	if (e->state != state)
		e->state = state;
	if (e->stamp != (__u16)s->now)
		e->stamp = s->now;
}

/* Along a way. One of a backend that is to RESET its flows ends: its client is told so once beyond the RST budget (s->answer). */
static __always_inline __u16 follow(struct scratch *s, struct flow_entry *e)
{
	__u16 id = entry_word(e);
	const struct backend *b = backend_get(id);

	if (b && b->flags & BACKEND_KEEP) {
		touch(s, e);
		return id;
	}
	s->answer = e->state == TRACKED_RST ? ANSWER_RST : ANSWER_DRAIN_RST;
	e->state = TRACKED_RST;
	return id;
}

/* A SYN that repeats one that has a way goes along it */
static __always_inline __u16 repeat(const struct scratch *s, struct flow_entry *e)
{
	e->stamp = s->now;
	return entry_word(e);
}

/* Whether a packet without a fitting way needs an entry: when flows without one go elsewhere, or all have one */
static __always_inline bool needs_entry(const struct scratch *s, bool syn, __u16 before, __u16 now)
{
	if (!(syn ? now : before) || (s->tuple.protocol == PROTOCOL_TCP && !syn && s->tcp_flags & (TCP_RST | TCP_SYN)))
		return false;
	return before != now || s->word & SERVICE_TRACK_ALL || (syn && s->ways.elsewhere);
}

/* Where a packet without a fitting way goes. A SYN goes to `now`, beside whatever is there; under pressure where flows without an entry go,
 * and needs none. Any other goes to `before`, and is kept there by an entry when the ring says otherwise. */
static __always_inline __u16 begin(struct scratch *s, const struct config *c, struct flow_bucket *bucket, __u64 tag, bool syn, __u16 before,
				   __u16 now)
{
	bool tcp = s->tuple.protocol == PROTOCOL_TCP;
	const struct backend *b = backend_get(before);
	bool spare = b && b->flags & BACKEND_ELIGIBLE;
	struct ways *w = &s->ways;
	__u16 id = syn ? now : before;

	if (!needs_entry(s, syn, before, now))
		return id;
	if (w->count < MOST_WAYS)
		find_place(s, c, bucket, syn ? !spare : tcp);
	else
		own_place(s, bucket, syn);
	if (w->place == NO_WAY)
		return spare ? before : id;
	if (s->word & SERVICE_LIMITED && !tcp)
		admit(s, c);
	if (!s->refused)
		write_entry(s, bucket, tag << 16 | id, syn ? TRACKED_SYN : TRACKED_PINNED, !syn ? 0 : w->first ? RANK_LAST : 1);
	return id;
}

/* Where the service has affinity a packet without a fitting way goes by its client: sets *before and *now. A packet that begins a flow is
 * followed by the client's next ones once it is admitted: see affinity_keep() */
static __always_inline void go_by_client(struct scratch *s, const struct config *c, bool begins, __u16 *before, __u16 *now)
{
	*before = *now = affinity_choose(s, c, begins ? *now : *before);
	if (!begins)
		s->affinity.place = AFFINITY_PLACES;
}

/* The backend of a packet in an at-risk slot; `hash` is the tuple's, `pick` picked the slot, `now` is the slot's backend */
static __always_inline __u16 tracked_backend(struct scratch *s, const struct config *c, __u64 hash, __u32 pick, __u16 now)
{
	bool tcp = s->tuple.protocol == PROTOCOL_TCP;
	struct flow_bucket *bucket = flow_bucket(c, hash);
	struct traffic *traffic = service_traffic(s->service);
	__u64 tag = flow_tag(hash, pick);
	bool syn = tcp && is_syn(s);
	__u16 before, id;

	if (!bucket)
		return now;
	s->now = second(c);
	if (traffic)
		traffic->table_reads++;
	find_ways(s, c, bucket, tag, now);
	before = tcp ? before_backend(s->word, pick, now) : now;
	s->affinity.place = AFFINITY_PLACES;
	if (s->word & SERVICE_AFFINITY && (syn ? s->ways.same : s->ways.near) == NO_WAY)
		go_by_client(s, c, syn || !tcp, &before, &now);
	if (syn && s->ways.same != NO_WAY)
		id = repeat(s, &bucket->entry[s->ways.same & (WAYS - 1)]);
	else if (!syn && s->ways.near != NO_WAY)
		id = follow(s, &bucket->entry[s->ways.near & (WAYS - 1)]);
	else
		id = begin(s, c, bucket, tag, syn, before, now);
	*(volatile __u16 *)&s->ways.backend = id; /* from here on the verifier goes once, whichever way it has come */
	if (s->word & SERVICE_AFFINITY && !s->refused)
		affinity_keep(s, *(volatile __u16 *)&s->ways.backend);
	return *(volatile __u16 *)&s->ways.backend;
}

#endif
