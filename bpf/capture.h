/* SPDX-License-Identifier: Apache-2.0 */
/* Packets for those who look: as they came, as they left, and what the datapath made of them. While nobody looks this costs a packet two
 * reads of one word. A packet is copied as it comes, since nobody knows yet how it will end; what asks for drops only needs no copy,
 * because a packet is changed only on its way out. */
#ifndef L4LB_CAPTURE_H
#define L4LB_CAPTURE_H

/* At most CAPTURE_BYTES, and the verifier knows it wherever the value goes from here */
static __always_inline __u64 bounded(__u64 bytes)
{
	asm volatile("" : "+r"(bytes));
	if (bytes > CAPTURE_BYTES)
		bytes = CAPTURE_BYTES;
	asm volatile("" : "+r"(bytes));
	return bytes;
}

/* Copies the frame's first bytes to `to`; returns how many. Never fails for lengths of 1 and more that the frame has. Linux 6.1 sees by a
 * sum that there is at least one, not by a comparison with 0; for an empty frame the sum is more than it has. */
static __always_inline __u64 copy_frame(struct xdp_md *ctx, void *to)
{
	__u64 bytes = ((bounded(ctx->data_end - ctx->data) - 1) & (CAPTURE_BYTES - 1)) + 1;

	return load_bytes(ctx, 0, to, bytes) ? 0 : bytes;
}

/* At the beginning of the hot program. Of a packet whose ports are not read those of the one before must not be taken for its own */
static __always_inline void capture_begin(struct xdp_md *ctx, struct scratch *s)
{
	const struct capture_switch *on = capture_switch_get();
	struct captured *record;

	if (!on || !(on->flags & (CAPTURE_ALL | CAPTURE_DROPS)))
		return;
	s->tuple.source_port = s->tuple.destination_port = 0;
	s->tuple.protocol = 0;
	if (!(on->flags & CAPTURE_ALL))
		return;
	record = captured_get();
	if (record)
		record->came_bytes = copy_frame(ctx, record->data);
}

/* Whether the recorder takes one more of those dropped for this reason. It is asked before anything is copied: a flood gets no further. */
static __always_inline bool recorder_takes(__u32 reason)
{
	const struct config *c = config_get();
	struct capture_budget *budget = recorder_budget_get(reason % REASONS);

	if (!c || !budget)
		return false;
	if (spend(c, &budget->budget, RECORDER_RATE, RECORDER_BURST))
		return true;
	budget->limited++;
	return false;
}

static __always_inline bool capture_wanted(struct scratch *s, __u32 outcome)
{
	const struct capture_switch *on = capture_switch_get();
	bool dropped = (outcome & (VERDICTS - 1)) == XDP_DROP, recorded;

	if (!on)
		return false;
	recorded = dropped && on->flags & CAPTURE_RECORD && recorder_takes(outcome / VERDICTS);
	if (!recorded && !(on->flags & (dropped ? CAPTURE_ALL | CAPTURE_DROPS : CAPTURE_ALL)))
		return false;
	s->recorded = recorded;
	return true;
}

static __always_inline bool one_of(const struct capture *f, const struct address *a)
{
	__u32 differs = 0;

#pragma unroll
	for (int i = 0; i < 4; i++)
		differs |= (a->word[i] & f->mask.word[i]) ^ f->address.word[i];
	return !differs;
}

/* Whether the packet, as it came, passes the filter */
static __always_inline bool capture_matches(const struct xdp_md *ctx, const struct scratch *s, const struct capture *f)
{
	__u32 reason = s->outcome / VERDICTS % REASONS, verdict = s->outcome & (VERDICTS - 1);

	if (!(f->reasons[reason / 64] >> reason % 64 & 1) || !(f->verdicts >> verdict & 1))
		return false;
	if (f->ifindex && f->ifindex != ctx->ingress_ifindex)
		return false;
	if (f->service && f->service != s->service)
		return false;
	if (f->protocol && (!s->family || f->protocol != s->tuple.protocol))
		return false;
	if (f->port && (!s->family || (f->port != s->tuple.source_port && f->port != s->tuple.destination_port)))
		return false;
	return !f->filters_address || (s->family && (one_of(f, &s->tuple.source) || one_of(f, &s->tuple.destination)));
}

/* Which captures take the packet; `live` is set when there is any at all */
static __always_inline __u32 capture_takers(const struct xdp_md *ctx, const struct scratch *s, const struct config *c, bool *live)
{
	__u32 takers = 0, now = second(c), reason = s->outcome / VERDICTS % REASONS;

	for (__u32 i = 0; i < CAPTURES; i++) {
		const struct capture *f = capture_get(i);
		struct capture_budget *budget;

		if (!f || (__s32)(f->until - now) <= 0)
			continue;
		*live = true;
		budget = capture_budget_get(i * REASONS + reason);
		if (!budget || !capture_matches(ctx, s, f))
			continue;
		if (spend(c, &budget->budget, f->rate, f->rate))
			takers |= 1 << i;
		else
			budget->limited++;
	}
	return takers;
}

static __always_inline void capture_lost(__u32 takers, __u32 reason)
{
	struct capture_budget *budget = takers >> RECORDER & 1 ? recorder_budget_get(reason) : NULL;

	if (budget)
		budget->lost++;
	for (__u32 i = 0; i < CAPTURES; i++) {
		budget = takers >> i & 1 ? capture_budget_get(i * REASONS + reason) : NULL;
		if (budget)
			budget->lost++;
	}
}

/* Hands the packet to those who want it; returns its verdict */
static __always_inline int capture_end(struct xdp_md *ctx, const struct scratch *s, const struct config *c)
{
	struct capture_switch *on = capture_switch_get();
	struct captured *record = captured_get();
	bool live = false;
	__u64 came, left = 0;
	__u32 takers;

	if (!on || !record)
		return s->outcome & (VERDICTS - 1);
	takers = capture_takers(ctx, s, c, &live);
	if ((__s32)(on->recorder_until - second(c)) > 0) {
		live = true;
		takers |= s->recorded << RECORDER;
	}
	if (!live)
		on->flags = 0; /* the agent that asked has gone */
	if (!takers)
		return s->outcome & (VERDICTS - 1);
	came = bounded(on->flags & CAPTURE_ALL ? record->came_bytes : copy_frame(ctx, record->data));
	if (takers == 1 << RECORDER && came > RECORDER_BYTES)
		came = RECORDER_BYTES;
	if ((s->outcome & (VERDICTS - 1)) != XDP_DROP)
		left = bounded(copy_frame(ctx, record->data + came));
	record->nanoseconds = bpf_ktime_get_ns();
	record->ifindex = ctx->ingress_ifindex;
	record->frame_bytes = s->received_bytes;
	record->left_frame_bytes = ctx->data_end - ctx->data;
	record->service = s->service;
	record->outcome = s->outcome;
	record->backend = s->backend;
	record->takers = takers;
	record->came_bytes = came;
	record->left_bytes = left;
	if (captures_output(record, __builtin_offsetof(struct captured, data) + came + left))
		capture_lost(takers, s->outcome / VERDICTS % REASONS);
	return s->outcome & (VERDICTS - 1);
}

#endif
