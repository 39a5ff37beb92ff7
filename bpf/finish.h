/* SPDX-License-Identifier: Apache-2.0 */
/* The only exit of every program: tags what leaves or passes, counts why the packet ended, hands it to who captures, and returns the
 * verdict. */
#ifndef L4LB_FINISH_H
#define L4LB_FINISH_H

/* The outermost tag of a frame that ends so */
static __always_inline __u32 tag_for(const struct scratch *s, __u32 outcome)
{
	__u32 verdict = outcome & (VERDICTS - 1);

	return verdict == XDP_TX || verdict == XDP_REDIRECT ? s->tag_out : s->tag_in;
}

/* Puts on the tags of a frame that ends so, what is dropped included: it may be captured. Returns the outcome, which is another one when
 * there is no room for them. */
static __always_inline __u32 with_tag(struct xdp_md *ctx, struct scratch *s, __u32 outcome)
{
	__u32 verdict = outcome & (VERDICTS - 1), tag = tag_for(s, outcome);

	if (tag & (TAG_LOOK | TAG_DEVICE)) {
		s->outcome = outcome;
		tail_call(ctx, TAIL_TAGS);
		return DROP(REASON_TAIL_CALL_FAILED);
	}
	return tag && !push_tag(ctx, tag) && verdict != XDP_DROP ? DROP(REASON_NO_HEADROOM) : outcome;
}

/* The outcome by way of memory: the verifier forgets which of many it is, and walks what follows once. For programs with a thousand ends;
 * the hot one has no time for it. */
static __always_inline __u32 forgotten(struct scratch *s, __u32 outcome)
{
	s->outcome = outcome;
	asm volatile("" ::: "memory");
	return s->outcome;
}

/* The end of a frame that has its tags */
static __always_inline int leave(struct xdp_md *ctx, struct scratch *s, __u32 outcome)
{
	struct count *count = reason_count(outcome);

	if (count) {
		count->packets++;
		count->bytes += s->received_bytes;
	}
	if (capture_wanted(s, outcome)) {
		s->outcome = outcome;
		tail_call(ctx, TAIL_CAPTURE); /* when it fails, the packet is not captured */
	}
	return outcome & (VERDICTS - 1);
}

static __always_inline int finish(struct xdp_md *ctx, struct scratch *s, __u32 outcome)
{
	return leave(ctx, s, s->tags ? with_tag(ctx, s, outcome) : outcome);
}

/* A tail, which returns the verdict; each has the name of its slot */
#define TAIL(verdict)                                                  \
	const struct config *c = config_get();                         \
	struct scratch *s = scratch_get();                             \
	return c && s ? verdict : XDP_DROP

#endif
