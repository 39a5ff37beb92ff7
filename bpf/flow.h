/* SPDX-License-Identifier: Apache-2.0 */
/* NAT flows: how both directions find the one record of a flow, when it is over, and how its state changes. What makes and frees records
 * is in claim.h. */
#ifndef L4LB_FLOW_H
#define L4LB_FLOW_H

#define WORD_TRIES 3 /* to change a word that other CPUs change too */
#define SLOTS 16
#define SLOT_STAMP_MASK 0xffffff
#define SLOT_IDLE_AGE 0x800000 /* of a record without a flow: older than any flow is, for six days */
#define FLOW_TCP_FLAGS (FLOW_CLIENT_FIN | FLOW_BACKEND_FIN | FLOW_BACKEND_FIN_FIRST | FLOW_RESET)

static __always_inline __u32 read_word(const struct flow *f)
{
	return *(const volatile __u32 *)&f->word;
}

static __always_inline __u8 word_state(__u32 word)
{
	return word >> FLOW_STATE_SHIFT & 15;
}

static __always_inline __u8 word_flags(__u32 word)
{
	return word >> FLOW_FLAGS_SHIFT;
}

static __always_inline __u8 word_version(__u32 word)
{
	return word >> FLOW_VERSION_SHIFT;
}

/* The same word with another state and other flags */
static __always_inline __u32 word_with(__u32 word, __u8 state, __u8 flags)
{
	return (word & ~(15U << FLOW_STATE_SHIFT | 255U << FLOW_FLAGS_SHIFT)) | (__u32)state << FLOW_STATE_SHIFT |
	       (__u32)flags << FLOW_FLAGS_SHIFT;
}

/* Atomic; false when another CPU was faster */
static __always_inline bool word_change(struct flow *f, __u32 old, __u32 new)
{
	twice *both = (twice *)&f->seen;
	__u64 there = *(volatile twice *)both;

	return there >> 32 == old && __sync_bool_compare_and_swap(both, there, (__u64)new << 32 | (__u32)there);
}

/* Seconds without packets after which a flow is over */
static __always_inline __u32 flow_timeout(const struct config *c, __u8 state, __u8 flags, __u16 service_id)
{
	struct service *service;

	if (state == FLOW_CLOSED)
		return flags & FLOW_BACKEND_FIN_FIRST ? c->quarantine_long : c->quarantine_short;
	if (state != FLOW_ESTABLISHED && state != FLOW_UDP_ANSWERED)
		return state < sizeof(c->timeout) / sizeof(c->timeout[0]) ? c->timeout[state] : 0;
	service = service_get(service_id);
	return service ? service->idle_seconds : 0;
}

/* Signed: another CPU may have stamped a later second */
static __always_inline bool aged(__u32 now, __u32 seen, __u32 timeout)
{
	return (__s32)(now - seen) > (__s32)timeout;
}

static __always_inline bool flow_expired(const struct config *c, const struct flow *f, __u32 word, __u32 now)
{
	return aged(now, f->seen, flow_timeout(c, word_state(word), word_flags(word), f->service));
}

/* Two ports side by side */
static __always_inline __u32 port_pair(const __u16 *ports)
{
	return *(const word *)ports;
}

/* Whether the packet is the client's of this flow; sets s->becomes. The same for both families but for where addresses are */
static __always_inline bool clients_own(struct scratch *s, const struct flow *f, __u32 id)
{
	const struct tuple *t = &s->tuple;
	struct tuple *to = &s->becomes;

	if (port_pair(&f->client_port) != port_pair(&t->source_port))
		return false;
	if (s->family == 4) {
		if (f->client != t->source.word[3] || f->vip != t->destination.word[3])
			return false;
		mapped_address(&to->source, f->snat);
		mapped_address(&to->destination, f->backend_address);
	} else {
		const struct flow_v6 *v6 = flow_v6_get(id);

		if (!v6 || f->client || !same_address(&v6->client, &t->source) || !same_address(&v6->vip, &t->destination))
			return false;
		copy_address(&to->source, &v6->snat);
		copy_address(&to->destination, &v6->backend);
	}
	to->source_port = f->snat_port;
	to->destination_port = f->backend_port;
	return true;
}

/* The same for the backend's packet */
static __always_inline bool backends_own(struct scratch *s, const struct flow *f, __u32 id)
{
	const struct tuple *t = &s->tuple;
	struct tuple *to = &s->becomes;

	if (port_pair(&f->backend_port) != port_pair(&t->source_port))
		return false;
	if (s->family == 4) {
		if (f->backend_address != t->source.word[3] || f->snat != t->destination.word[3])
			return false;
		mapped_address(&to->source, f->vip);
		mapped_address(&to->destination, f->client);
	} else {
		const struct flow_v6 *v6 = flow_v6_get(id);

		if (!v6 || f->client || !same_address(&v6->backend, &t->source) || !same_address(&v6->snat, &t->destination))
			return false;
		copy_address(&to->source, &v6->vip);
		copy_address(&to->destination, &v6->client);
	}
	to->source_port = f->vip_port;
	to->destination_port = f->client_port;
	return true;
}

/* The record of the packet's tuple, over or not, or NULL. Sets s->flow_id, s->flow_word and s->becomes. The record may become another
 * flow's at any time: what is read of it counts once `still` says so. */
static __always_inline struct flow *flow_record(struct scratch *s, const struct config *c, __u64 hash, bool from_client)
{
	__u32 id = indexed(c, hash);
	struct flow *f = flow_get(id);

	if (!id || !f)
		return NULL;
	s->flow_word = read_word(f);
	if (!word_state(s->flow_word) || (__u8)s->flow_word != s->tuple.protocol)
		return NULL;
	if (!(from_client ? clients_own(s, f, id) : backends_own(s, f, id)))
		return NULL;
	s->becomes.protocol = s->tuple.protocol;
	s->flow_id = id;
	return f;
}

/* Whether all that was read of the record was the flow's that flow_record() found */
static __always_inline bool still(const struct scratch *s, const struct flow *f)
{
	return word_version(read_word(f)) == word_version(s->flow_word);
}

/* The live flow of a client's packet, or NULL. Sets s->hash as well */
static __always_inline struct flow *flow_find(struct scratch *s, const struct config *c)
{
	struct flow *f;

	s->hash = tuple_hash(&s->tuple, c->slot_secret);
	f = flow_record(s, c, s->hash, true);
	return f && !flow_expired(c, f, s->flow_word, s->now) ? f : NULL;
}

/* The live flow of a backend's packet, or NULL */
static __always_inline struct flow *reply_find(struct scratch *s, const struct config *c)
{
	struct flow *f = flow_record(s, c, tuple_hash(&s->tuple, c->slot_secret), false);

	return f && !flow_expired(c, f, s->flow_word, s->now) ? f : NULL;
}

static __always_inline void flow_touch(const struct scratch *s, struct flow *f)
{
	if (f->seen != s->now)
		f->seen = s->now;
}

/* Sets flags and clears others in a record whose word was `word`. Gives up when other CPUs were faster three times, or the record is
 * another flow's by now */
static __always_inline void flow_mark(struct flow *f, __u32 word, __u8 set, __u8 clear)
{
	__u8 version = word_version(word);

#pragma unroll
	for (int i = 0; i < WORD_TRIES && word_version(word) == version; i++) {
		__u32 new = word_with(word, word_state(word), (word_flags(word) & ~clear) | set);

		if (new == word || word_change(f, word, new))
			return;
		word = read_word(f);
	}
}

/* What a RST leaves: the port stays taken for the short quarantine */
static __always_inline __u32 closed_word(__u32 word)
{
	return word_state(word) == FLOW_CLOSED ? word : word_with(word, FLOW_CLOSED, word_flags(word) | FLOW_RESET);
}

/* The same for a flow that ends as by a RST */
static __always_inline void flow_close(struct flow *f, __u32 word)
{
	__u8 version = word_version(word);

#pragma unroll
	for (int i = 0; i < WORD_TRIES && word_version(word) == version; i++) {
		if (closed_word(word) == word || word_change(f, word, closed_word(word)))
			return;
		word = read_word(f);
	}
}

/* A slot's next word: another version, so that no compare-and-swap mistakes it for an earlier one */
static __always_inline __u64 slot_word(__u64 id, __u64 before, __u32 stamp)
{
	__u64 version = (before >> SLOT_VERSION_SHIFT) + 1 & 0xfff;

	return id << SLOT_ID_SHIFT | version << SLOT_VERSION_SHIFT | (stamp & SLOT_STAMP_MASK);
}

/* The flow leaves `unanswered` for good; `hash` is that of the client's tuple. False when another flow has just taken its record */
static __always_inline bool flow_keep(const struct scratch *s, const struct config *c, const struct flow *f, __u64 hash)
{
	struct unanswered *u = unanswered_get(hash & c->unanswered_mask);
	__u64 *slot, there;

	if (!u)
		return false;
	slot = &u->slot[s->flow_word >> FLOW_PLACE_SHIFT & (SLOTS - 1)];
	there = *(volatile __u64 *)slot;
	if (there >> SLOT_ID_SHIFT == s->flow_id && __sync_bool_compare_and_swap(slot, there, slot_word(0, there, 0)))
		return true;
	return still(s, f) && !(word_flags(read_word(f)) & FLOW_HELD); /* another CPU's packet was faster */
}

#endif
