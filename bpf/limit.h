/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of new flows, for a service and for each prefix of its sources: token buckets of one 64-bit word each, the time at which the
 * bucket will be full again (the generic cell rate algorithm, ITU-T I.371). A word behind the clock is a full bucket, so one that nobody
 * uses is nothing that has to be kept. All CPUs share them. */
#ifndef L4LB_LIMIT_H
#define L4LB_LIMIT_H

#define LIMIT_PLACES 8
#define LIMIT_TAG 0xffffULL /* of a source's word: which prefix it belongs to. The rest is the time, in steps of 2^-24 seconds */
#define LIMIT_AHEAD (1ULL << 52) /* most that a word is ahead of the clock: 4096 seconds. Beyond, it is behind it */

/* 2^-40 seconds, round and round in half a year: a word of exactly that age looks used once more, for LIMIT_AHEAD at most */
static __always_inline __u64 limit_time(const struct config *c)
{
	return fine_time(c) << 16;
}

/* How much of a bucket that is full at `full` is taken, as time; 0 is one that nobody has used yet, whatever the clock says */
static __always_inline __u64 taken(__u64 full, __u64 now)
{
	__u64 ahead = full - now;

	ahead &= (__s64)(__s32)~if_zero(full); /* no branch: the verifier walks a line's eight places one after the other */
	return ahead > LIMIT_AHEAD ? 0 : ahead;
}

/* Takes one out of a bucket: its word `before` becomes `after`. When another CPU has changed the word meanwhile, both have seen that there
 * was one left, and both take it: the sum is right, and at most one flow for each CPU comes too early. */
static __always_inline void take(__u64 *word, __u64 before, __u64 after, __u64 interval)
{
	if (__sync_val_compare_and_swap(word, before, after) != before)
		__sync_fetch_and_add(word, interval);
}

static __always_inline __u64 limit_word(const __u64 *word)
{
	return *(const volatile __u64 *)word;
}

/* The prefix that the packet's source belongs to, its service and its limit, as 64 bits: by another limit every prefix begins anew, since
 * what was taken is time, of which a flow may now cost less than the bucket owes */
static __always_inline __u64 source_limit_hash(const struct scratch *s, const struct config *c, const struct policy *p)
{
	const struct address *a = &s->tuple.source;

	return mix((low_word(a) & p->source_mask[0]) ^ (p->source_interval + p->source_tolerance), high_word(a) & p->source_mask[1],
		   c->index_secret) ^
	       s->service * MIX_1;
}

/* Sets the place of a prefix in its line: its own; else the one of which least is taken. With more prefixes than places the one that has
 * had fewest flows is forgotten, and nobody is refused for what others did. In the scratch for the reason that struct ways is. */
static __always_inline void find_limit(struct scratch *s, const struct limit_line *line, __u64 tag, __u64 now)
{
	volatile struct limit_place *found = &s->limit;

	found->least = ~0ULL;
	found->place = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < LIMIT_PLACES; i++) {
		__u64 word = limit_word(&line->word[i]);
		__u64 worth = (word & LIMIT_TAG) == tag ? 0 : 1 + taken(word & ~LIMIT_TAG, now);

		if (worth >= found->least)
			continue;
		found->least = worth;
		found->place = i;
	}
}

static __always_inline bool take_of_source(struct scratch *s, const struct config *c, const struct policy *p, __u64 now)
{
	__u64 hash = source_limit_hash(s, c, p), tag = hash & LIMIT_TAG, before, used;
	struct limit_line *line = source_limit_get(hash >> 32 & (SOURCE_LIMIT_LINES - 1));
	__u64 *word;

	if (!line)
		return true; /* cannot be: the mask is the array's */
	find_limit(s, line, tag, now);
	word = &line->word[s->limit.place & (LIMIT_PLACES - 1)];
	before = limit_word(word);
	used = (before & LIMIT_TAG) == tag ? taken(before & ~LIMIT_TAG, now) : 0;
	if (used + p->source_interval > p->source_tolerance)
		return false;
	take(word, before, ((now + used + p->source_interval) & ~LIMIT_TAG) | tag, p->source_interval);
	return true;
}

/* Why the packet, which would start a flow, may not; 0 when it may. The service's bucket is looked at first, so that a flood over its limit
 * costs one line, and taken from last, so that one source over its own limit takes nothing from the others. */
static __always_inline __u32 limited(struct scratch *s, const struct config *c)
{
	const struct policy *p = policy_get(s->service);
	struct limit_line *line = service_limit_get(s->service);
	__u64 now = limit_time(c), before, used;

	if (!p || !line)
		return 0;
	before = limit_word(&line->word[0]);
	used = taken(before, now);
	if (p->service_interval && used + p->service_interval > p->service_tolerance)
		return REASON_NEW_FLOWS_LIMITED;
	if (p->source_interval && !take_of_source(s, c, p, now))
		return REASON_SOURCE_LIMITED;
	if (p->service_interval)
		take(&line->word[0], before, now + used + p->service_interval, p->service_interval);
	return 0;
}

/* Sets s->refused. Through the scratch, where the verifier follows no values: it goes on once, and not for each way to get here. */
static __always_inline void admit(struct scratch *s, const struct config *c)
{
	s->refused = limited(s, c);
}

#endif
