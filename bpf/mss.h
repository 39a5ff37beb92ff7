/* SPDX-License-Identifier: Apache-2.0 */
/* MSS clamping: a SYN asks its receiver for segments that fit into the way (RFC 9293 3.7.1). What it asks for is lowered, never raised, and
 * a SYN that asks for nothing gets nothing added. Only SYNs of services that want it pay more than a look. */
#ifndef L4LB_MSS_H
#define L4LB_MSS_H

/* Copies the options of the TCP header at `offset` into the block; returns how many bytes, 0 for none that could be an MSS */
static __always_inline __u32 read_options(struct xdp_md *ctx, struct scratch *s, __u32 offset)
{
	const struct tcp *tcp = bytes_at(ctx, offset, TCP_BYTES);
	__u64 bytes;

	if (!tcp)
		return 0;
	bytes = (tcp->offset >> 4 << 2) - TCP_BYTES;
	if (bytes < TCP_MSS_BYTES || bytes > TCP_MOST_OPTIONS)
		return 0;
	asm volatile("" : "+r"(bytes));
	bytes = ((bytes - 1) & 63) + 1; /* what it is already, and the verifier knows by this */
	return load_bytes(ctx, offset + TCP_BYTES, s->block, bytes) ? 0 : bytes;
}

/* Whether the option at hand is an MSS within `bytes` of them in the block */
static __always_inline bool at_mss(const struct scratch *s, __u32 bytes)
{
	__u32 at = s->option;

	return at + TCP_MSS_BYTES <= bytes && s->block[at & 63] == TCP_OPTION_MSS && s->block[(at & 63) + 1] == TCP_MSS_BYTES;
}

/* Walks to the first MSS among `bytes` of options in the block; false without one, or behind an option whose length cannot be. Where the
 * walk is stands in the scratch: there the verifier follows no values, and walks the loop once. */
static __always_inline bool find_mss(struct scratch *s, __u32 bytes)
{
	s->option = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < TCP_MOST_OPTIONS && !at_mss(s, bytes); i++) {
		__u32 at = s->option;
		__u8 kind = s->block[at & 63], length = s->block[(at & 63) + 1];

		if (at + TCP_MSS_BYTES > bytes || kind == TCP_OPTIONS_END || (kind != TCP_OPTION_NONE && length < 2))
			break;
		s->option = at + (kind == TCP_OPTION_NONE ? 1 : length);
	}
	return at_mss(s, bytes);
}

/* Lowers what the MSS option at `at` of the options asks for. At an odd offset it lies across two words of the checksum: what its bytes add
 * is swapped then (RFC 1071 2 (B)). */
static __always_inline void lower_mss(struct xdp_md *ctx, __u32 offset, __u32 at, __u32 most)
{
	half *asked = bytes_at(ctx, offset + TCP_BYTES + at + 2, sizeof(*asked));
	struct tcp *tcp = bytes_at(ctx, offset, TCP_BYTES);
	__u16 before, after = htons(most);

	if (!asked || !tcp || ntohs(*asked) <= most)
		return;
	before = *asked;
	*asked = after;
	if (at & 1) {
		before = htons(before);
		after = htons(after);
	}
	tcp->checksum = updated_checksum(tcp->checksum, checksum_delta(before, after));
}

/* What a SYN of the service may ask for, its flow's way taking packets of `mtu`; 0 = anything */
static __always_inline __u32 most_mss(const struct scratch *s, __u32 number, __u32 mtu)
{
	const struct service *service = service_get(number);
	__u32 headers = (s->family == 4 ? IPV4_BYTES : IPV6_BYTES) + TCP_BYTES;

	if (!service || service->mss != MSS_AUTO)
		return service ? service->mss : 0;
	return mtu > headers ? mtu - headers : 0;
}

static __always_inline void clamp_mss(struct xdp_md *ctx, struct scratch *s, __u32 service, __u32 mtu)
{
	__u32 offset = s->transport & TRANSPORT_MASK, most = most_mss(s, service, mtu), bytes;

	if (!most)
		return;
	bytes = read_options(ctx, s, offset);
	if (bytes && find_mss(s, bytes))
		lower_mss(ctx, offset, s->option & 63, most);
}

static __always_inline bool has_syn(const struct scratch *s)
{
	return s->tuple.protocol == PROTOCOL_TCP && s->tcp_flags & TCP_SYN;
}

#endif
