/* SPDX-License-Identifier: Apache-2.0 */
/* States of a flow, followed by what passes. FIN and RST only shorten a flow's life: what comes after a RST, from a peer that did not
 * believe it (RFC 5961 3.2), brings the flow back, so that a forged RST cuts nobody. */
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

static __always_inline bool newer(__u32 sequence, __u32 than)
{
	return (__s32)(sequence - than) > 0;
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

/* The word that a client's TCP packet leaves */
static __always_inline __u32 word_by_client(const struct scratch *s, __u32 word, bool hears)
{
	__u8 flags = word_flags(word) & ~FLOW_RESET;

	if (s->tcp_flags & TCP_SYN)
		return word;
	if (s->tcp_flags & TCP_RST)
		return closed_word(word);
	if (!believed(word, hears))
		return word;
	if (s->tcp_flags & TCP_FIN)
		flags |= FLOW_CLIENT_FIN;
	return word_with(word, state_by_fins(flags), flags);
}

/* The client has acknowledged the backend's answer: the flow is worth its record */
static __always_inline bool earns_record(__u32 word)
{
	__u8 flags = word_flags(word), state = word_state(word);

	return flags & FLOW_HELD && flags & FLOW_HEARD && !(flags & FLOW_RESET) && state >= FLOW_ESTABLISHED && state <= FLOW_CLOSED;
}

static __always_inline void note_fin(const struct scratch *s, struct flow *f)
{
	__u32 fin = s->sequence + s->segment - 1;

	if (!(word_flags(s->flow_word) & FLOW_CLIENT_FIN) || newer(fin, f->last_sequence))
		f->last_sequence = fin;
}

/* A client's TCP packet that follows `f`. False when the record has just become another flow's */
static __always_inline bool tcp_from_client(struct scratch *s, const struct config *c, struct flow *f)
{
	bool hears = heard(s, f), kept = false;

	if ((s->tcp_flags & (TCP_FIN | TCP_RST)) == TCP_FIN && believed(s->flow_word, hears))
		note_fin(s, f);
#pragma unroll
	for (int i = 0; i < WORD_TRIES; i++) {
		__u32 word = i ? read_word(f) : s->flow_word, new = word_by_client(s, word, hears);

		if (word_version(word) != word_version(s->flow_word))
			return false;
		if (earns_record(new)) {
			kept = kept || flow_keep(s, c, f, s->hash);
			if (!kept)
				return false;
			new &= ~((__u32)FLOW_HELD << FLOW_FLAGS_SHIFT);
		}
		if (new == word || word_change(f, word, new))
			return true;
	}
	return true;
}

/* The flags that a backend's packet leaves */
static __always_inline __u8 flags_by_backend(__u8 tcp_flags, __u8 flags)
{
	flags = (flags & ~FLOW_RESET) | FLOW_HEARD;
	if (tcp_flags & TCP_SYN)
		return flags & ~FLOW_TCP_FLAGS; /* a SYN+ACK: whatever was before, a handshake is under way */
	if (!(tcp_flags & TCP_FIN) || flags & FLOW_BACKEND_FIN)
		return flags;
	return flags | FLOW_BACKEND_FIN | (flags & FLOW_CLIENT_FIN ? 0 : FLOW_BACKEND_FIN_FIRST);
}

/* Whether the backend goes beyond the handshake: it sends data, or has got some. An ACK to something out of order does neither. */
static __always_inline bool converses(const struct scratch *s, const struct flow *f, __u32 word)
{
	return s->segment || (word_flags(word) & FLOW_HEARD && newer(s->acknowledgement, f->sequence + 1));
}

static __always_inline __u32 word_by_backend(const struct scratch *s, const struct flow *f, __u32 word)
{
	__u8 flags = flags_by_backend(s->tcp_flags, word_flags(word));

	if (s->tcp_flags & TCP_RST)
		return closed_word(word);
	if (s->tcp_flags & TCP_SYN || (beginning(word) && !converses(s, f, word)))
		return word_with(word, FLOW_ANSWERED, flags);
	return word_with(word, state_by_fins(flags), flags);
}

/* A backend's TCP packet that follows `f`. False when the client's tuple belongs to another flow by now: were such an answer let through,
 * the client would shake hands with two backends at once. False too for a new handshake where the ring sends no new flows: the client's
 * next SYN finds a flow that is over, and goes where the ring says. */
static __always_inline bool tcp_from_backend(struct scratch *s, struct flow *f)
{
	__u8 flags = word_flags(s->flow_word);

	if (flags & FLOW_DISPLACED)
		return false;
	if (s->tcp_flags & TCP_SYN && flags & FLOW_LEFT) {
		flow_close(f, s->flow_word);
		return false;
	}
	if (word_state(s->flow_word) == FLOW_CLOSED && !(flags & FLOW_RESET) && s->tcp_flags & (TCP_RST | TCP_SYN))
		return true;
	if (s->tcp_flags & TCP_SYN)
		f->last_sequence = s->sequence;
#pragma unroll
	for (int i = 0; i < WORD_TRIES; i++) {
		__u32 word = i ? read_word(f) : s->flow_word, new = word_by_backend(s, f, word);

		if (word_version(word) != word_version(s->flow_word) || word_flags(word) & FLOW_DISPLACED)
			return false;
		if (new == word || word_change(f, word, new))
			return true;
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
