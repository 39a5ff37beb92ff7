/* SPDX-License-Identifier: Apache-2.0 */
/* States of a flow, followed by what passes. FIN and RST count near what their sender has sent, so that a forged one cuts nobody, and only
 * shorten a flow's life: what comes after a RST, from a peer that did not believe it (RFC 5961 3.2), brings the flow back. */
#ifndef L4LB_TCP_H
#define L4LB_TCP_H

#define HEARD_WINDOW 0x10000

/* The state that the FINs seen so far make */
static __always_inline __u8 state_by_fins(__u8 flags)
{
	if ((flags & (FLOW_CLIENT_FIN | FLOW_BACKEND_FIN)) == (FLOW_CLIENT_FIN | FLOW_BACKEND_FIN))
		return FLOW_CLOSED;
	return flags & (FLOW_CLIENT_FIN | FLOW_BACKEND_FIN) ? FLOW_CLOSING : FLOW_ESTABLISHED;
}

/* A FIN that is not where its sender's packets are does not count. The flags are read anew afterwards: the verifier need not walk the rest
 * once for each way here */
static __always_inline void ignore_fin(struct scratch *s)
{
	s->tcp_flags &= ~TCP_FIN;
}

/* Whether a client's packet acknowledges the backend's SYN+ACK, or data right behind it: a forged source does not hear that one, and has to
 * guess one number of 65,536 */
static __always_inline bool heard(const struct scratch *s, const struct flow *f)
{
	return s->tcp_flags & TCP_ACK && s->acknowledgement - f->last_sequence < HEARD_WINDOW;
}

/* Whether the handshake is not over, as far as both sides have shown; a RST does not end it */
static __always_inline bool beginning(__u32 word)
{
	__u8 state = word_state(word);

	return state == FLOW_SYN || state == FLOW_ANSWERED || (state == FLOW_CLOSED && word_flags(word) & FLOW_HELD);
}

/* Whether more than a RST of the client's counts; `hears` as heard() says. Else a SYN and an ACK, both forged, would keep a record for as
 * long as a connection */
static __always_inline bool believed(__u32 word, bool hears)
{
	return !beginning(word) || (hears && word_flags(word) & FLOW_HEARD);
}

/* Whether the flow's record was closed by a RST that its receiver has not believed, if this packet counts: of numbers nothing is known */
static __always_inline bool was_reset(__u32 word)
{
	return word_state(word) == FLOW_CLOSED && !(word_flags(word) & FLOW_HELD);
}

/* Whether a client's FIN or RST is where its packets are */
static __always_inline bool client_near(const struct scratch *s, const struct flow *f)
{
	if (is_numbered(s->flow_word))
		return within_reach(s->sequence, f->client_reach);
	return was_reset(s->flow_word) || apart(s->sequence, f->sequence) < NEAR;
}

/* Whether a backend's packet acknowledges the client's SYN, or what came right after it */
static __always_inline bool answers_syn(const struct scratch *s, const struct flow *f)
{
	return s->tcp_flags & TCP_ACK && apart(s->acknowledgement, f->sequence) < NEAR;
}

/* Whether a backend's FIN or RST is where its packets are. A port that nobody listens at answers from sequence 0 */
static __always_inline bool backend_near(const struct scratch *s, const struct flow *f)
{
	if (is_numbered(s->flow_word))
		return within_reach(s->sequence, f->backend_reach);
	return was_reset(s->flow_word) || answers_syn(s, f) ||
	       (word_flags(s->flow_word) & FLOW_HEARD && apart(s->sequence, f->last_sequence) < NEAR);
}

/* The word that a client's TCP packet leaves, of whose flags `tcp_flags` count */
static __always_inline __u32 word_by_client(__u8 tcp_flags, __u32 word, bool hears)
{
	__u8 flags = word_flags(word) & ~FLOW_RESET;

	if (tcp_flags & TCP_RST)
		return closed_word(word);
	if (!believed(word, hears))
		return word;
	if (tcp_flags & TCP_FIN)
		flags |= FLOW_CLIENT_FIN;
	return word_with(word, state_by_fins(flags), flags);
}

/* The client has acknowledged the backend's answer: the flow is worth its record */
static __always_inline bool earns_record(__u32 word)
{
	__u8 flags = word_flags(word), state = word_state(word);

	return flags & FLOW_HELD && flags & FLOW_HEARD && !(flags & FLOW_RESET) && state >= FLOW_ESTABLISHED && state <= FLOW_CLOSED;
}

/* A client's TCP packet that follows `f`. False when the record has just become another flow's */
static __always_inline bool tcp_from_client(struct scratch *s, const struct config *c, struct flow *f)
{
	bool hears = heard(s, f), kept = false;

	if (s->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)) {
		if (s->tcp_flags & TCP_SYN)
			return true;
		if (!client_near(s, f)) {
			if (s->tcp_flags & TCP_RST)
				return true;
			ignore_fin(s);
		}
	}
	asm volatile("" ::: "memory");
#pragma unroll
	for (int i = 0; i < WORD_TRIES; i++) {
		__u32 word = i ? read_word(f) : s->flow_word, new = word_by_client(s->tcp_flags, word, hears);

		if (word_version(word) != word_version(s->flow_word))
			return false;
		if (earns_record(new)) {
			kept = kept || flow_keep(s, c, f, s->hash);
			if (!kept)
				return false;
			new &= ~((__u32)FLOW_HELD << FLOW_FLAGS_SHIFT);
		}
		if (new == word) {
			reach_follow(s, word, &f->client_reach);
			return true;
		}
		if (word_change(f, word, new)) {
			reach_note(s, word, new, &f->client_reach, &f->backend_reach);
			return true;
		}
	}
	return true;
}

/* The flags that a backend's packet leaves */
static __always_inline __u8 flags_by_backend(__u8 tcp_flags, __u8 flags)
{
	flags = (flags & ~FLOW_RESET) | FLOW_HEARD;
	if (tcp_flags & TCP_SYN)
		return flags & ~FLOW_TCP_FLAGS; /* whatever was before, a handshake is under way */
	if (!(tcp_flags & TCP_FIN) || flags & FLOW_BACKEND_FIN)
		return flags;
	return flags | FLOW_BACKEND_FIN | (flags & FLOW_CLIENT_FIN ? 0 : FLOW_BACKEND_FIN_FIRST);
}

/* Whether the backend goes beyond the handshake: it sends data, or has got some. An ACK to something out of order does neither. */
static __always_inline bool converses(const struct scratch *s, const struct flow *f, __u32 word)
{
	return s->segment || (word_flags(word) & FLOW_HEARD && newer(s->acknowledgement, f->sequence + 1));
}

/* The word that a backend's TCP packet leaves. A handshake in a flow that both sides have numbered leaves it ESTABLISHED: only the client's
 * ACK could tell a forged one from it */
static __always_inline __u32 word_by_backend(const struct scratch *s, const struct flow *f, __u32 word)
{
	__u8 tcp_flags = s->tcp_flags;
	__u8 flags = flags_by_backend(tcp_flags, word_flags(word));

	if (tcp_flags & TCP_RST)
		return closed_word(word);
	if (tcp_flags & TCP_SYN ? !is_numbered(word) : beginning(word) && !converses(s, f, word))
		return word_with(word, FLOW_ANSWERED, flags);
	return word_with(word, state_by_fins(flags), flags);
}

/* What becomes of a backend's FIN, RST or SYN+ACK */
enum end {
	END_COUNTS,
	END_PLAIN,  /* it counts as if it had no FIN */
	END_PASSES, /* it changes nothing */
	END_DROPPED,
};

static __always_inline enum end backend_ends(const struct scratch *s, struct flow *f)
{
	__u8 flags = word_flags(s->flow_word);
	bool near = s->tcp_flags & TCP_SYN ? answers_syn(s, f) : backend_near(s, f);

	if (s->tcp_flags & TCP_FIN)
		return near ? END_COUNTS : END_PLAIN;
	if (s->tcp_flags & TCP_SYN && flags & FLOW_LEFT) {
		if (near)
			flow_mark(f, s->flow_word, FLOW_RESET, 0);
		return END_DROPPED;
	}
	if (!near || (word_state(s->flow_word) == FLOW_CLOSED && !(flags & FLOW_RESET)))
		return END_PASSES;
	if (s->tcp_flags & TCP_SYN && !is_numbered(s->flow_word))
		f->last_sequence = s->sequence;
	return END_COUNTS;
}

/* A backend's TCP packet that follows `f`. False when the client's tuple belongs to another flow by now: were such an answer let through,
 * the client would shake hands with two backends at once. False too for a new handshake where the ring sends no new flows: FLOW_RESET
 * makes the client's next SYN go where the ring says. */
static __always_inline bool tcp_from_backend(struct scratch *s, struct flow *f)
{
	if (word_flags(s->flow_word) & FLOW_DISPLACED)
		return false;
	if (s->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)) {
		enum end end = backend_ends(s, f);

		if (end >= END_PASSES)
			return end == END_PASSES;
		if (end == END_PLAIN)
			ignore_fin(s);
	}
	asm volatile("" ::: "memory");
#pragma unroll
	for (int i = 0; i < WORD_TRIES; i++) {
		__u32 word = i ? read_word(f) : s->flow_word, new = word_by_backend(s, f, word);

		if (word_version(word) != word_version(s->flow_word) || word_flags(word) & FLOW_DISPLACED)
			return false;
		if (new == word && !(s->tcp_flags & TCP_SYN)) {
			reach_follow(s, word, &f->backend_reach);
			return true;
		}
		if (new == word || word_change(f, word, new)) {
			reach_note(s, word, new, &f->backend_reach, &f->client_reach);
			return true;
		}
	}
	return true;
}

/* The first UDP answer proves that the backend is there: the flow lives longer from now on, and is replaced by no other. False when the
 * record has just become another flow's */
static __always_inline bool udp_from_backend(struct scratch *s, const struct config *c, struct flow *f)
{
	__u8 flags = word_flags(s->flow_word);

	if (flags & FLOW_DISPLACED)
		return false;
	if (word_state(s->flow_word) == FLOW_UDP_ANSWERED)
		return true;
	if (flags & FLOW_HELD && !flow_keep(s, c, f, reversed_hash(&s->becomes, c->slot_secret)))
		return false;
	word_change(f, s->flow_word, word_with(s->flow_word, FLOW_UDP_ANSWERED, (flags & ~FLOW_HELD) | FLOW_HEARD));
	return true;
}

#endif
