/* SPDX-License-Identifier: Apache-2.0 */
/* Time from the jiffies, which cost nothing to read, and the budgets that run on it. */
#ifndef L4LB_CLOCK_H
#define L4LB_CLOCK_H

/* 2^-24 seconds */
static __always_inline __u64 fine_time(const struct config *c)
{
	return bpf_jiffies64() * c->second_multiplier;
}

static __always_inline __u32 second(const struct config *c)
{
	return fine_time(c) >> 24;
}

/* 1/16 seconds */
static __always_inline __u32 tick(const struct config *c)
{
	return fine_time(c) >> 20;
}

/* Whether this CPU may send one more: a token bucket of `burst`, filled by `rate` a second */
static __always_inline bool spend(const struct config *c, struct budget *budget, __u32 rate, __u32 burst)
{
	__u64 now = fine_time(c), elapsed = now - budget->stamp, full = (__u64)burst << 24;
	__u64 tokens;

	if (elapsed > 16ULL << 24)
		elapsed = 16ULL << 24; /* keeps the product below 2^60 */
	tokens = budget->tokens + elapsed * rate;
	if (tokens > full)
		tokens = full;
	budget->stamp = now;
	if (tokens < 1 << 24) {
		budget->tokens = tokens;
		return false;
	}
	budget->tokens = tokens - (1 << 24);
	return true;
}

#endif
