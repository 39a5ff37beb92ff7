/* SPDX-License-Identifier: Apache-2.0 */
/* TCP states of a flow, followed by what passes. FIN and RST only shorten a flow's life: what comes after a RST, from a peer that did not
 * believe it (RFC 5961 3.2), brings the flow back, so that a forged RST cuts nobody. */
#ifndef L4LB_TCP_H
#define L4LB_TCP_H

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

/* A client's packet that follows `f`; only a change of state looks for the other half */
static __always_inline void tcp_from_client(struct scratch *s, struct flow *f)
{
	__u8 state = f->state, flags = f->flags;
	struct reply *r;

	if (s->tcp_flags & TCP_SYN)
		return;
	if (s->tcp_flags & TCP_RST) {
		if (state == FLOW_CLOSED)
			return;
		flow_reset(f, reply_of(s, f));
		return;
	}
	flags &= ~FLOW_RESET;
	if (s->tcp_flags & TCP_FIN) {
		__u32 fin = s->sequence + s->segment - 1;

		if (newer(fin, f->last_sequence))
			f->last_sequence = fin;
		flags |= FLOW_CLIENT_FIN;
	} else if (state == FLOW_SYN || (state == FLOW_ANSWERED && !(s->tcp_flags & TCP_ACK))) {
		return;
	}
	if (state_by_fins(flags) == state && flags == f->flags)
		return;
	r = reply_of(s, f);
	if (r)
		flags |= r->flags & ~FLOW_RESET;
	f->flags = flags;
	f->state = state_by_fins(flags);
	if (r) {
		r->flags = flags;
		r->state = f->state;
	}
}

/* The flags that a backend's packet leaves */
static __always_inline __u8 flags_from_backend(__u8 tcp_flags, __u8 flags)
{
	flags &= ~FLOW_RESET;
	if (tcp_flags & TCP_SYN)
		return 0; /* a SYN+ACK: whatever was before, a handshake is under way */
	if (!(tcp_flags & TCP_FIN) || flags & FLOW_BACKEND_FIN)
		return flags;
	return flags | FLOW_BACKEND_FIN | (flags & FLOW_CLIENT_FIN ? 0 : FLOW_BACKEND_FIN_FIRST);
}

static __always_inline __u8 state_from_backend(__u8 tcp_flags, __u8 state, __u8 flags)
{
	if (tcp_flags & TCP_SYN)
		return FLOW_ANSWERED;
	if (!(tcp_flags & TCP_FIN) && (state == FLOW_SYN || state == FLOW_ANSWERED))
		return FLOW_ANSWERED;
	return state_by_fins(flags);
}

/* A backend's packet that follows `r`. False when the client's tuple belongs to another flow by now: were such an answer let through,
 * the client would shake hands with two backends at once. False too for a new handshake where the ring sends no new flows: the client's
 * next SYN finds a flow that is over, and goes where the ring says. */
static __always_inline bool tcp_from_backend(struct scratch *s, struct reply *r)
{
	__u8 state, flags;
	struct flow *f;

	if (s->tcp_flags & TCP_SYN && r->left) {
		flow_reset(flow_of(s, r), r);
		return false;
	}
	if (r->state == FLOW_CLOSED && !(r->flags & FLOW_RESET) && s->tcp_flags & (TCP_RST | TCP_SYN))
		return true;
	flags = flags_from_backend(s->tcp_flags, r->flags);
	state = state_from_backend(s->tcp_flags, r->state, flags);
	if (!(s->tcp_flags & TCP_RST) && state == r->state && flags == r->flags)
		return true; /* never on a flow that was reset: its flags change */
	f = flow_of(s, r);
	if (!f)
		return false;
	if (s->tcp_flags & TCP_RST) {
		flow_reset(f, r);
		return true;
	}
	if (!(s->tcp_flags & TCP_SYN))
		flags |= f->flags & ~FLOW_RESET;
	if (state != FLOW_ANSWERED)
		state = state_by_fins(flags);
	f->flags = r->flags = flags;
	f->state = r->state = state;
	return true;
}

#endif
