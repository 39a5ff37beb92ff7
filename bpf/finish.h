/* SPDX-License-Identifier: Apache-2.0 */
/* The only exit of every program: counts why the packet ended, hands it to who captures, and returns the verdict. */
#ifndef L4LB_FINISH_H
#define L4LB_FINISH_H

static __always_inline int finish(struct xdp_md *ctx, struct scratch *s, __u32 outcome)
{
	struct count *count = reason_count(outcome);

	if (count) {
		count->packets++;
		count->bytes += s->frame_bytes;
	}
	if (capture_wanted(outcome)) {
		s->outcome = outcome;
		tail_call(ctx, TAIL_CAPTURE); /* when it fails, the packet is not captured */
	}
	return outcome & (VERDICTS - 1);
}

#endif
