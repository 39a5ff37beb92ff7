/* SPDX-License-Identifier: Apache-2.0 */
/* The RST that the answer tail sends, and how its frames go back (RFC 9293 3.10.7.1). */
#ifndef L4LB_ANSWER_H
#define L4LB_ANSWER_H

#define ANSWER_TTL 64

static __always_inline void swap_macs(struct ethernet *frame)
{
	__u8 mac[6];

	copy_mac(mac, frame->destination);
	copy_mac(frame->destination, frame->source);
	copy_mac(frame->source, mac);
}

/* Sum of `words` 16-bit words */
static __always_inline __u64 words_sum(const void *start, int words)
{
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < words; i++)
		sum += ((const half *)start)[i];
	return sum;
}

/* The IP header of an answer that has `bytes` after it; `class` is its type of service */
static __always_inline bool write_answer_ipv4(struct xdp_md *ctx, const struct scratch *s, __u8 class, __u8 protocol, __u16 bytes)
{
	struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);

	if (!ip)
		return false;
	ip->version_length = 0x45;
	ip->service = class;
	ip->length = htons(IPV4_BYTES + bytes);
	ip->identification = 0;
	ip->fragment = htons(IPV4_DONT_FRAGMENT);
	ip->ttl = ANSWER_TTL;
	ip->protocol = protocol;
	ip->checksum = 0;
	ip->source = s->tuple.destination.word[3];
	ip->destination = s->tuple.source.word[3];
	ip->checksum = ~fold(words_sum(ip, IPV4_BYTES / 2));
	return true;
}

static __always_inline bool write_answer_ipv6(struct xdp_md *ctx, const struct scratch *s, __u8 protocol, __u16 bytes)
{
	struct ipv6 *ip = bytes_at(ctx, IP_OFFSET, IPV6_BYTES);

	if (!ip)
		return false;
	ip->version_class_flow = htonl(6U << 28);
	ip->payload_length = htons(bytes);
	ip->next_header = protocol;
	ip->hop_limit = ANSWER_TTL;
	copy_address((struct address *)ip->source, &s->tuple.destination);
	copy_address((struct address *)ip->destination, &s->tuple.source);
	return true;
}

static __always_inline bool write_rst_tcp(struct xdp_md *ctx, const struct scratch *s, __u32 offset)
{
	struct tcp *tcp = bytes_at(ctx, offset, TCP_BYTES);
	bool acked = s->tcp_flags & TCP_ACK;
	__u64 pseudo;

	if (!tcp)
		return false;
	tcp->source = s->tuple.destination_port;
	tcp->destination = s->tuple.source_port;
	tcp->sequence = acked ? htonl(s->acknowledgement) : 0;
	tcp->acknowledgement = acked ? 0 : htonl(s->sequence + s->segment);
	tcp->offset = TCP_BYTES / 4 << 4;
	tcp->flags = acked ? TCP_RST : TCP_RST | TCP_ACK;
	tcp->window = 0;
	tcp->checksum = 0;
	tcp->urgent = 0;
	pseudo = htons(PROTOCOL_TCP) + htons(TCP_BYTES);
	if (s->family == 4)
		pseudo += (__u64)s->tuple.source.word[3] + s->tuple.destination.word[3];
	else
		pseudo += address_sum(&s->tuple.source) + address_sum(&s->tuple.destination);
	tcp->checksum = ~fold(pseudo + words_sum(tcp, TCP_BYTES / 2));
	return true;
}

/* Turns the packet into the RST that answers it; expects that it is not a RST itself. */
static __always_inline bool write_rst(struct xdp_md *ctx, const struct scratch *s)
{
	__u32 header = s->family == 4 ? IPV4_BYTES : IPV6_BYTES;
	struct ethernet *frame;

	if (bpf_xdp_adjust_tail(ctx, (int)(IP_OFFSET + header + TCP_BYTES) - (int)s->frame_bytes))
		return false;
	frame = bytes_at(ctx, 0, sizeof(*frame));
	if (!frame)
		return false;
	swap_macs(frame);
	if (s->family == 4)
		return write_answer_ipv4(ctx, s, 0, PROTOCOL_TCP, TCP_BYTES) && write_rst_tcp(ctx, s, IP_OFFSET + IPV4_BYTES);
	return write_answer_ipv6(ctx, s, PROTOCOL_TCP, TCP_BYTES) && write_rst_tcp(ctx, s, IP_OFFSET + IPV6_BYTES);
}

static __always_inline __u32 answer_rst(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	struct budget *budget = budget_get(BUDGET_RST);
	bool empty = s->answer == ANSWER_EMPTY_RST;
	__u32 reason = REASON_DRAIN_RESET;
	__u32 why = client_fault(s, c);

	if (why)
		return refuse(s, why);
	if (empty || s->answer == ANSWER_RST) {
		reason = empty ? REASON_NO_BACKEND_ANSWERED : REASON_RST_ANSWERED;
		if (!budget || !spend(c, budget, c->rst_rate, c->rst_burst))
			return DROP(empty ? REASON_NO_BACKEND_LIMITED : REASON_RST_LIMITED);
	}
	return write_rst(ctx, s) ? OUTCOME(reason, send_back(ctx, s, c)) : DROP(REASON_MALFORMED);
}

#endif
