/* SPDX-License-Identifier: Apache-2.0 */
/* One entry of the flow table: what it says, how long it lives without packets, and what giving it up is worth. */
#ifndef L4LB_ENTRY_H
#define L4LB_ENTRY_H

#define FUTURE 65500 /* an age beyond is the stamp of a CPU that is a second ahead */

static __always_inline __u64 entry_word(const struct flow_entry *e)
{
	return *(const volatile __u64 *)&e->word;
}

static __always_inline __u32 tracked_age(const struct scratch *s, const struct flow_entry *e)
{
	__u32 age = (__u16)(s->now - e->stamp);

	return age > FUTURE ? 0 : age;
}

static __always_inline __u32 shorter(__u32 a, __u32 b)
{
	return a < b ? a : b;
}

static __always_inline __u32 tracked_timeout(const struct config *c, __u8 state, __u32 idle)
{
	switch (state) {
	case TRACKED_SYN:
		return c->tracked_syn;
	case TRACKED_FIN:
		return shorter(c->tracked_fin, idle); /* they only shorten a life, also a short one */
	case TRACKED_RST:
		return shorter(c->tracked_rst, idle);
	default:
		return idle;
	}
}

static __always_inline bool unconfirmed(__u8 state)
{
	return state == TRACKED_SYN || state == TRACKED_PINNED;
}

/* Seen in one second only, or ending: what a flood of handshakes, spoofed up to the client's ACK, consists of */
static __always_inline bool brief(__u8 state)
{
	return state == TRACKED_LIVE || state == TRACKED_FIN || state == TRACKED_RST;
}

/* Whether nobody needs an entry any more: empty, expired, or of a backend that keeps no flows */
static __always_inline bool is_free(const struct scratch *s, const struct config *c, const struct flow_entry *e)
{
	const struct backend *b = backend_get((__u16)entry_word(e));
	const struct service *service;

	if (!(__u16)entry_word(e) || !b || !(b->flags & (BACKEND_KEEP | BACKEND_RESET)))
		return true;
	service = service_get(b->service);
	return !service || tracked_age(s, e) > tracked_timeout(c, e->state, service->idle_seconds);
}

#define WORTH_BRIEF (1 << 18)
#define WORTH_UNCONFIRMED (1 << 20)
#define WORTH_FREE (1 << 30)

static __always_inline __u32 entry_worth(const struct scratch *s, const struct flow_entry *e)
{
	__u32 worth = 1 + tracked_age(s, e);

	if (unconfirmed(e->state))
		return worth + WORTH_UNCONFIRMED;
	return brief(e->state) ? worth + WORTH_BRIEF : worth;
}

#endif
