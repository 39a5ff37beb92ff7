/* SPDX-License-Identifier: Apache-2.0 */
/* "Packet too big" (RFC 1191, RFC 8201): the answer tail tells the sender of a packet that is longer than its way out what would fit. The
 * answer comes from the address that the sender knows, the VIP or a SNAT address, and quotes the packet as it came. */
#ifndef L4LB_TOO_BIG_H
#define L4LB_TOO_BIG_H

#define IPV4_LEAST_TOLD 576 /* what every host must take (RFC 791 3.1); senders believe nothing far below */

/* Whether anything fits that may be told, and the sender wants to know: an IPv4 packet that may be fragmented is a router's to fragment,
 * which XDP cannot; a later fragment has no ports by which its sender could find the flow (RFC 1122 3.2.2) */
static __always_inline bool can_be_told(struct xdp_md *ctx, const struct scratch *s, __u16 mtu)
{
	const struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	if (s->l3_bytes <= mtu || s->part == PART_LATER)
		return false;
	return s->family == 6 || (ip && ip->fragment & htons(IPV4_DONT_FRAGMENT));
}

static __always_inline __u32 answer_too_big(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u16 least = s->family == 4 ? IPV4_LEAST_TOLD : IPV6_LEAST_MTU, mtu = s->mtu < least ? least : s->mtu;
	__u8 type = s->family == 4 ? ICMP_UNREACHABLE : ICMPV6_PACKET_TOO_BIG;
	__u8 code = s->family == 4 ? ICMP_CODE_FRAGMENTATION_NEEDED : 0;
	struct budget *budget = budget_get(BUDGET_TOO_BIG);

	if (!can_be_told(ctx, s, mtu))
		return DROP(REASON_MTU_EXCEEDED);
	if (!budget || !spend(c, budget, c->icmp_rate, c->icmp_burst))
		return DROP(REASON_TOO_BIG_LIMITED);
	if (!write_error(ctx, s, type, code, htonl(mtu)))
		return DROP(REASON_NO_HEADROOM);
	return OUTCOME(REASON_TOO_BIG_ANSWERED, send_back(ctx, s, c));
}

#endif
