/* SPDX-License-Identifier: Apache-2.0 */
/* ARP requests and IPv6 neighbour solicitations for owned addresses: recognised in the hot program, answered in the answer tail. An
 * address that is also this host's is left to the host. */
#ifndef L4LB_NEIGHBOUR_H
#define L4LB_NEIGHBOUR_H

/* An ARP frame that we could answer: a request, for somebody other than the asker (RFC 5227 2.1.1). Its target goes into the tuple's
 * destination. */
static __always_inline bool arp_request(struct xdp_md *ctx, struct scratch *s)
{
	const struct arp *arp = bytes_at(ctx, IP_OFFSET, sizeof(*arp));

	if (!arp || arp->hardware != htons(1) || arp->protocol != htons(ETHERTYPE_IPV4) || arp->hardware_length != 6 ||
	    arp->protocol_length != 4 || arp->operation != htons(ARP_REQUEST) || arp->sender_mac[0] & 1)
		return false;
	if (arp->sender[0] == arp->target[0] && arp->sender[1] == arp->target[1])
		return false;
	s->family = 4;
	mapped_address(&s->tuple.destination, arp->target[0] | (__u32)arp->target[1] << 16);
	return true;
}

/* A neighbour solicitation that we could answer (RFC 4861 7.1.1); its target goes into the tuple's destination. */
static __always_inline bool solicitation(struct xdp_md *ctx, struct scratch *s)
{
	const struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);
	const struct neighbour *asked = bytes_at(ctx, IP_OFFSET + IPV6_BYTES, SOLICITATION_BYTES);

	if (!ip || !asked || ip->next_header != PROTOCOL_ICMPV6 || ip->hop_limit != 255 ||
	    ntohs(ip->payload_length) < SOLICITATION_BYTES || asked->type != NEIGHBOUR_SOLICITATION || asked->code)
		return false;
	if (ntohl(ip->version_class_flow) >> 28 != 6 || IP_OFFSET + IPV6_BYTES + ntohs(ip->payload_length) > s->frame_bytes)
		return false;
	copy_address(&s->tuple.destination, (const struct address *)asked->target);
	return true;
}

/* Our MAC on this interface: what the agent wrote, or else where the frame went. False when the frame is for another station; requests are
 * also sent to all. */
static __always_inline bool own_mac(struct xdp_md *ctx, __u8 *mac)
{
	const struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));
	const struct interface *place = interface_place(ctx);

	if (!frame || !place || frame->source[0] & 1)
		return false;
	if (!knows(ctx, place)) {
		copy_mac(mac, frame->destination);
		return !(frame->destination[0] & 1);
	}
	copy_mac(mac, place->mac);
	return frame->destination[0] & 1 || same_mac(mac, frame->destination);
}

static __always_inline __u32 answer_arp(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));
	struct arp *arp = bytes_at(ctx, IP_OFFSET, sizeof(*arp));
	__u16 owned[2];
	__u8 mac[6];

	if (!frame || !arp || !own_mac(ctx, mac))
		return PASS(REASON_NOT_IP);
	copy_mac(frame->destination, arp->sender_mac);
	copy_mac(frame->source, mac);
	owned[0] = arp->target[0];
	owned[1] = arp->target[1];
	arp->operation = htons(ARP_REPLY);
	copy_mac(arp->target_mac, arp->sender_mac);
	arp->target[0] = arp->sender[0];
	arp->target[1] = arp->sender[1];
	copy_mac(arp->sender_mac, mac);
	arp->sender[0] = owned[0];
	arp->sender[1] = owned[1];
	return OUTCOME(REASON_ARP_ANSWERED, send_back(ctx, s, c));
}

/* The IPv6 header of the advertisement: to the asker, or to all nodes when the asker has no address yet (RFC 4861 7.2.4) */
static __always_inline bool advertise_to(struct ethernet *frame, struct ipv6 *ip, const struct address *target, const __u8 *mac)
{
	bool asker = ip->source[0] | ip->source[1] | ip->source[2] | ip->source[3];

	copy_mac(frame->destination, frame->source);
	copy_mac(frame->source, mac);
	copy_address((struct address *)ip->destination, (const struct address *)ip->source);
	if (!asker) {
		((half *)frame->destination)[0] = htons(0x3333);
		((half *)frame->destination)[1] = 0;
		((half *)frame->destination)[2] = htons(1);
		ip->destination[0] = htonl(0xff020000);
		ip->destination[3] = htonl(1);
	}
	copy_address((struct address *)ip->source, target);
	ip->version_class_flow = htonl(6U << 28);
	ip->payload_length = htons(sizeof(struct neighbour));
	ip->hop_limit = 255;
	return asker;
}

static __always_inline __u32 answer_neighbour(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u32 bytes = IP_OFFSET + IPV6_BYTES + sizeof(struct neighbour);
	struct neighbour *answer;
	struct ethernet *frame;
	struct ipv6 *ip;
	__u8 mac[6];
	bool asker;

	if (!own_mac(ctx, mac) || bpf_xdp_adjust_tail(ctx, (int)bytes - (int)s->frame_bytes))
		return PASS(REASON_FOREIGN);
	frame = bytes_at(ctx, 0, sizeof(*frame));
	ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);
	answer = bytes_at(ctx, IP_OFFSET + IPV6_BYTES, sizeof(*answer));
	if (!frame || !ip || !answer)
		return PASS(REASON_FOREIGN);
	asker = advertise_to(frame, ip, &s->tuple.destination, mac);
	answer->type = NEIGHBOUR_ADVERTISEMENT;
	answer->code = 0;
	answer->checksum = 0;
	answer->flags = htonl(asker ? NEIGHBOUR_SOLICITED | NEIGHBOUR_OVERRIDE : NEIGHBOUR_OVERRIDE);
	copy_address((struct address *)answer->target, &s->tuple.destination);
	answer->option = OPTION_TARGET_LINK_LAYER;
	answer->option_length = 1;
	copy_mac(answer->option_mac, mac);
	answer->checksum = ~fold(address_sum((struct address *)ip->source) + address_sum((struct address *)ip->destination) +
				 htons(sizeof(*answer)) + htons(PROTOCOL_ICMPV6) + words_sum(answer, sizeof(*answer) / 2));
	return OUTCOME(REASON_NEIGHBOUR_ANSWERED, send_back(ctx, s, c));
}

#endif
