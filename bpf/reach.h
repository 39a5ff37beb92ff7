/* SPDX-License-Identifier: Apache-2.0 */
/* Sequence numbers: which are near each other, and how far both sides of a NAT flow have come. Who forges a packet does not hear a
 * connection's numbers, and of 512 guesses one is near. */
#ifndef L4LB_REACH_H
#define L4LB_REACH_H

#define NEAR (4 << 20)      /* farther from what is expected, a packet is somebody else's */
#define NEAR_STEP (1 << 20) /* most that one packet moves what is expected: forged ones move it out of reach of nobody */
#define REACH_SHIFT 16

static __always_inline bool newer(__u32 sequence, __u32 than)
{
	return (__s32)(sequence - than) > 0;
}

static __always_inline __u32 apart(__u32 a, __u32 b)
{
	__u32 difference = a - b; /* unsigned: the farthest has no negative of its own */

	return (__s32)difference < 0 ? -difference : difference;
}

/* Whether the record knows how far both sides have come: the client has acknowledged the backend's answer, and no RST has ended the flow */
static __always_inline bool is_numbered(__u32 word)
{
	__u8 flags = word_flags(word), state = word_state(word);

	if (flags & FLOW_HELD || state < FLOW_ESTABLISHED)
		return false;
	return state <= FLOW_CLOSING || (state == FLOW_CLOSED && !(flags & FLOW_RESET));
}

/* Whether a number is where a side has come to */
static __always_inline bool within_reach(__u32 sequence, __u16 reach)
{
	return (__u16)((sequence >> REACH_SHIFT) - reach + (NEAR >> REACH_SHIFT)) <= 2 * NEAR >> REACH_SHIFT;
}

/* A packet of the side whose reach is *reach, in a flow whose word it left as it was */
static __always_inline void reach_follow(const struct scratch *s, __u32 word, __u16 *reach)
{
	__u16 end = (s->sequence + s->segment) >> REACH_SHIFT, ahead;

	if (end == *reach || !is_numbered(word)) /* seldom more: once in 64 KiB */
		return;
	ahead = end - *reach;
	if (ahead <= NEAR >> REACH_SHIFT)
		*reach += ahead < NEAR_STEP >> REACH_SHIFT ? ahead : NEAR_STEP >> REACH_SHIFT;
}

/* The same for one that changed the word from `old`, or of which all numbers count: the first one tells of both sides */
static __always_inline void reach_note(const struct scratch *s, __u32 old, __u32 word, __u16 *own, __u16 *other)
{
	if (!is_numbered(word) || (is_numbered(old) && !(s->tcp_flags & TCP_SYN))) {
		reach_follow(s, word, own);
		return;
	}
	*own = (s->sequence + s->segment) >> REACH_SHIFT;
	*other = s->acknowledgement >> REACH_SHIFT;
}

#endif
