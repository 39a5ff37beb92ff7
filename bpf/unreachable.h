/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP "unreachable" for a packet that no backend of its service takes. */
#ifndef L4LB_UNREACHABLE_H
#define L4LB_UNREACHABLE_H

static __always_inline __u32 answer_unreachable(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u8 type = s->family == 4 ? ICMP_UNREACHABLE : ICMPV6_UNREACHABLE, code;
	struct budget *budget = budget_get(BUDGET_ICMP);

	if (s->answer == ANSWER_PROHIBITED)
		code = s->family == 4 ? ICMP_CODE_PROHIBITED : ICMPV6_CODE_PROHIBITED;
	else
		code = s->family == 4 ? ICMP_CODE_PORT : ICMPV6_CODE_PORT;
	if (!budget || !spend(c, budget, c->icmp_rate, c->icmp_burst))
		return DROP(REASON_NO_BACKEND_LIMITED);
	if (!write_error(ctx, s, type, code, 0))
		return DROP(REASON_NO_HEADROOM);
	return OUTCOME(REASON_NO_BACKEND_ANSWERED, send_back(ctx, s, c));
}

#endif
