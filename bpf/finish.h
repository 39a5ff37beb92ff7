/* SPDX-License-Identifier: Apache-2.0 */
/* The only exit of every program: counts why the packet ended and returns the verdict. */
#ifndef L4LB_FINISH_H
#define L4LB_FINISH_H

static __always_inline int finish(struct scratch *s, __u32 outcome)
{
	struct count *count = reason_count(outcome);

	if (count) {
		count->packets++;
		count->bytes += s->frame_bytes;
	}
	return outcome & (VERDICTS - 1);
}

#endif
