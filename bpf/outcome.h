/* SPDX-License-Identifier: Apache-2.0 */
/* Ends that several roads share: left to the host, answered by another program, begun by another program. */
#ifndef L4LB_OUTCOME_H
#define L4LB_OUTCOME_H

#define MOST_RACES 8 /* that one packet loses */

/* A packet for an owned address that is not forwarded: the host's own business when the address is also the host's. What is for others
 * is never ours to drop */
static __always_inline __u32 refuse(const struct scratch *s, __u32 reason)
{
	if (s->owned_flags & ADDRESS_FOREIGN)
		return PASS(REASON_FOREIGN);
	return s->owned_flags & ADDRESS_LOCAL ? PASS(REASON_LOCAL) : DROP(reason);
}

/* Answers a TCP packet by RST; a RST is never answered */
static __always_inline __u32 reject(struct xdp_md *ctx, struct scratch *s, __u8 answer)
{
	if (s->tcp_flags & TCP_RST)
		return DROP(REASON_NO_FLOW);
	s->answer = answer;
	tail_call(ctx, TAIL_ANSWER);
	return DROP(REASON_TAIL_CALL_FAILED);
}

/* What becomes of a packet that cannot leave by its way, for the reason that obstacle() gave: whether its sender can be told that it is too
 * long is the answer tail's business */
static __always_inline __u32 stopped(struct xdp_md *ctx, struct scratch *s, __u32 why)
{
	if (why != REASON_MTU_EXCEEDED)
		return DROP(why);
	s->answer = ANSWER_TOO_BIG;
	tail_call(ctx, TAIL_ANSWER);
	return DROP(REASON_TAIL_CALL_FAILED);
}

/* A packet that no backend of its service takes: answered as the service says, else the outcome `otherwise` */
static __always_inline __u32 no_backend(struct xdp_md *ctx, struct scratch *s, __u32 otherwise)
{
	bool tcp = s->tuple.protocol == PROTOCOL_TCP;

	if (!(s->word & SERVICE_ON_EMPTY) || (tcp && s->tcp_flags & TCP_RST))
		return otherwise;
	switch ((s->word & SERVICE_ON_EMPTY) >> SERVICE_ON_EMPTY_SHIFT) {
	case EMPTY_RESET:
		s->answer = tcp ? ANSWER_EMPTY_RST : ANSWER_UNREACHABLE;
		break;
	case EMPTY_UNREACHABLE:
		s->answer = ANSWER_UNREACHABLE;
		break;
	default:
		s->answer = ANSWER_PROHIBITED;
	}
	tail_call(ctx, TAIL_ANSWER);
	return DROP(REASON_TAIL_CALL_FAILED);
}

static __always_inline __u32 start_flow(struct xdp_md *ctx, struct scratch *s)
{
	s->races = 0;
	tail_call(ctx, TAIL_NAT_NEW);
	return DROP(REASON_TAIL_CALL_FAILED);
}

/* A new flow lost a race to another CPU: from the beginning, with what the other has left */
static __always_inline __u32 start_again(struct xdp_md *ctx, struct scratch *s)
{
	if (s->races++ >= MOST_RACES)
		return DROP(REASON_NO_SOURCE_PORT);
	tail_call(ctx, TAIL_NAT_NEW);
	return DROP(REASON_TAIL_CALL_FAILED);
}

/* No port is free for a new flow: somebody may give one up */
static __always_inline __u32 ask_for_port(struct xdp_md *ctx, struct scratch *s, __u16 chosen)
{
	s->chosen = chosen;
	tail_call(ctx, TAIL_NAT_PORT);
	return DROP(REASON_TAIL_CALL_FAILED);
}

static __always_inline bool is_syn(const struct scratch *s)
{
	return (s->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

#endif
