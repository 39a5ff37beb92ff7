/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP and ICMPv6 errors that the answer tail sends about a packet, from the address that it was for (RFC 792, RFC 1122 3.2.2, RFC 4443
 * 2.4). The packets that get here are TCP and UDP, no later fragments, for a unicast address of ours: none of those that no error may be
 * sent about; their frames were for us, and their sources have been asked for (source.h). */
#ifndef L4LB_ERROR_H
#define L4LB_ERROR_H

#define ERROR_MOST_IPV4 576  /* bytes of an error (RFC 1812 4.3.2.3) */
#define ERROR_MOST_IPV6 1280 /* RFC 4443 2.4 (c) */
#define ERROR_BLOCKS (ERROR_MOST_IPV6 / SUM_BYTES)
#define ERROR_SERVICE 0xc0   /* precedence internetwork control (RFC 1812 4.3.2.5), as hosts send them, too */

/* Makes room before the packet for an error's headers, leaves of it what is to be quoted, and turns the frame round. Returns how many bytes
 * are quoted, 0 when there is no room. */
static __always_inline __u32 quote_packet(struct xdp_md *ctx, const struct scratch *s)
{
	__u32 header = (s->family == 4 ? IPV4_BYTES : IPV6_BYTES) + ICMP_BYTES;
	__u32 quoted = (s->family == 4 ? ERROR_MOST_IPV4 : ERROR_MOST_IPV6) - header;
	struct ethernet *frame;
	const struct ethernet *was;

	if (quoted > s->l3_bytes)
		quoted = s->l3_bytes;
	if (bpf_xdp_adjust_tail(ctx, (int)(IP_OFFSET + quoted) - (int)s->frame_bytes) || bpf_xdp_adjust_head(ctx, -(int)header))
		return 0;
	frame = bytes_at(ctx, 0, sizeof(*frame));
	was = bytes_at(ctx, header, sizeof(*was));
	if (!frame || !was)
		return 0;
	copy_mac(frame->destination, was->source);
	copy_mac(frame->source, was->destination);
	frame->type = was->type;
	return quoted;
}

/* The error's own headers before `quoted` bytes; `rest` is what follows its checksum */
static __always_inline bool write_error_headers(struct xdp_md *ctx, struct scratch *s, __u8 type, __u8 code, __u32 rest, __u32 quoted)
{
	__u32 offset = IP_OFFSET + (s->family == 4 ? IPV4_BYTES : IPV6_BYTES), bytes = ICMP_BYTES + quoted;
	__u64 sum = pseudo_sum(s, bytes);
	struct icmp *message;

	if (!(s->family == 4 ? write_answer_ipv4(ctx, s, ERROR_SERVICE, PROTOCOL_ICMP, bytes) :
			       write_answer_ipv6(ctx, s, PROTOCOL_ICMPV6, bytes)))
		return false;
	message = bytes_at(ctx, offset, ICMP_BYTES);
	if (!message)
		return false;
	message->type = type;
	message->code = code;
	message->checksum = 0;
	*(word *)message->word = rest;
	if (!message_sum(ctx, s, offset, bytes, ERROR_BLOCKS, &sum))
		return false;
	message = bytes_at(ctx, offset, ICMP_BYTES);
	if (!message)
		return false;
	message->checksum = ~fold(sum);
	return true;
}

/* Turns the packet into an ICMP error about itself, from the address that it was for; `rest` in network order */
static __always_inline bool write_error(struct xdp_md *ctx, struct scratch *s, __u8 type, __u8 code, __u32 rest)
{
	__u32 quoted = quote_packet(ctx, s);

	return quoted && write_error_headers(ctx, s, type, code, rest, quoted);
}

#endif
