/* SPDX-License-Identifier: Apache-2.0 */
/* What the answer tail answers a packet by: s->answer says it. */
#ifndef L4LB_ANSWERED_H
#define L4LB_ANSWERED_H

static __always_inline __u32 answered(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	switch (s->answer) {
	case ANSWER_ARP:
		return answer_arp(ctx, s, c);
	case ANSWER_NEIGHBOUR:
		return answer_neighbour(ctx, s, c);
	case ANSWER_TOO_BIG:
		return answer_too_big(ctx, s, c);
	case ANSWER_UNREACHABLE:
	case ANSWER_PROHIBITED:
		return answer_unreachable(ctx, s, c);
	default:
		return answer_rst(ctx, s, c);
	}
}

#endif
