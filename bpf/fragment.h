/* SPDX-License-Identifier: Apache-2.0 */
/* Fragments. Ports and decision of a datagram are its first fragment's: a table keeps both for a few seconds, for the fragments that
 * follow. It has a fixed size, and the stalest of a bucket makes room: a flood costs fragments, and nothing else. Only what was forwarded
 * is in it. */
#ifndef L4LB_FRAGMENT_H
#define L4LB_FRAGMENT_H

#define FRAGMENT_TICKS 80 /* that an entry lives: 5 seconds; fragments of a datagram are sent at once */
#define REPEAT_TICKS 16   /* within which another first fragment is an attack, and not the next datagram with that identification */
#define PLACES_OF_PIECES 4
#define NO_PLACE PLACES_OF_PIECES
#define LONGEST_DATAGRAM 65535

static __always_inline void note_fragment_header(struct scratch *s, const struct fragment *f, __u32 end)
{
	__u16 offset = ntohs(f->offset);

	s->piece.identification = f->identification;
	s->piece.offset = offset & IPV6_OFFSET_MASK;
	s->piece.more = offset & 1;
	s->piece.bytes = s->l3_bytes - IPV6_BYTES - end;
}

/* Whether a datagram can have this part: all but the last one bring whole units of 8 bytes, and something */
static __always_inline bool piece_fits(const struct piece *p)
{
	return p->bytes && !(p->more && p->bytes & 7) && p->offset + p->bytes <= LONGEST_DATAGRAM;
}

static __always_inline __u64 fragment_word(const struct fragment_entry *e)
{
	return *(const volatile __u64 *)&e->word;
}

/* A datagram is what has the same addresses and identification, in IPv4 also protocol (RFC 791 2.3, RFC 8200 4.5). */
static __always_inline void name_piece(struct scratch *s, const struct config *c)
{
	__u64 which = 1ULL << 63 | (__u64)s->piece.identification << 8 | (s->family == 4 ? s->tuple.protocol : 0);
	__u64 hash = mix(addresses_hash(&s->tuple, c->slot_secret), which, c->slot_secret);

	s->piece.tag = hash >> 16;
	s->piece.bucket = hash & (FRAGMENT_BUCKETS - 1);
}

/* Sets the place of the datagram's live entry */
static __always_inline void find_piece(struct scratch *s, const struct config *c, const struct fragment_bucket *bucket)
{
	struct piece *p = &s->piece;

	p->place = NO_PLACE;
#pragma unroll
	for (int i = 0; i < PLACES_OF_PIECES; i++) {
		const struct fragment_entry *e = &bucket->entry[i];
		__u64 word = fragment_word(e);

		if (word && word >> 16 == p->tag && !aged(tick(c), e->stamp, FRAGMENT_TICKS))
			p->place = i;
	}
}

/* Sets the place of an empty entry, or else of the stalest */
static __always_inline void find_room(struct scratch *s, const struct config *c, const struct fragment_bucket *bucket)
{
	struct piece *p = &s->piece;

	p->place = 0;
	p->age = 0;
#pragma unroll
	for (int i = 0; i < PLACES_OF_PIECES; i++) {
		const struct fragment_entry *e = &bucket->entry[i];
		__s32 age = tick(c) - e->stamp;

		if (!fragment_word(e))
			age = 0x7fffffff;
		if (age <= p->age)
			continue;
		p->age = age;
		p->place = i;
	}
}

static __always_inline bool repeats(const struct scratch *s, const struct fragment_entry *e)
{
	return e->source_port == s->tuple.source_port && e->destination_port == s->tuple.destination_port &&
	       e->protocol == s->tuple.protocol;
}

/* A first fragment, whose tuple is complete: sets the place of its datagram and the identification that NAT gives it. Datagrams of many
 * clients leave from one SNAT address: only those names that no other live datagram has keep them apart at the backend, whatever
 * identifications the clients choose. Returns 0 or a reason. */
static __always_inline __u32 first_piece(struct scratch *s, const struct config *c)
{
	struct fragment_bucket *bucket = fragment_bucket_get(s->piece.bucket);
	struct piece *p = &s->piece;
	const struct fragment_entry *e;

	if (!bucket)
		return REASON_FRAGMENT;
	find_piece(s, c, bucket);
	if (p->place != NO_PLACE) {
		e = &bucket->entry[p->place & (PLACES_OF_PIECES - 1)];
		p->renamed = e->identification;
		if (repeats(s, e))
			return 0;
		if (!aged(tick(c), e->stamp, REPEAT_TICKS))
			return REASON_FRAGMENT_OVERLAP;
	} else {
		find_room(s, c, bucket);
	}
	e = &bucket->entry[p->place & (PLACES_OF_PIECES - 1)];
	p->renamed = ((e->identification + 0x4000) & 0xc000) | p->bucket << 2 | (p->place & (PLACES_OF_PIECES - 1));
	return 0;
}

/* The outcome of a first fragment; keeps what those that follow need when it was forwarded */
static __always_inline __u32 remember_piece(struct scratch *s, const struct config *c, __u32 outcome)
{
	__u32 reason = outcome / VERDICTS;
	struct piece *p = &s->piece;
	struct fragment_bucket *bucket;
	struct fragment_entry *e;
	__u16 first = p->bytes;

	if (s->part != PART_FIRST || (reason != REASON_FLOW_CREATED && reason != REASON_TO_BACKEND && reason != REASON_TO_CLIENT))
		return outcome;
	bucket = fragment_bucket_get(p->bucket);
	if (!bucket)
		return outcome;
	e = &bucket->entry[p->place & (PLACES_OF_PIECES - 1)];
	if (fragment_word(e) >> 16 == p->tag && repeats(s, e) && e->first > first)
		first = e->first;
	*(volatile __u64 *)&e->word = 0;
	asm volatile("" ::: "memory");
	e->stamp = tick(c);
	e->source_port = s->tuple.source_port;
	e->destination_port = s->tuple.destination_port;
	e->identification = p->renamed;
	e->first = first;
	e->protocol = s->tuple.protocol;
	asm volatile("" ::: "memory");
	*(volatile __u64 *)&e->word = p->tag << 16 | s->backend;
	return outcome;
}

/* A later fragment: completes its tuple, and says which backend the first one belonged to. Returns 0 or a reason. */
static __always_inline __u32 later_piece(struct scratch *s, const struct config *c)
{
	const struct fragment_bucket *bucket = fragment_bucket_get(s->piece.bucket);
	const struct fragment_entry *e;
	struct piece *p = &s->piece;
	__u64 word;
	__u16 first;

	if (!bucket)
		return REASON_FRAGMENT;
	find_piece(s, c, bucket);
	if (p->place == NO_PLACE)
		return REASON_FRAGMENT;
	e = &bucket->entry[p->place & (PLACES_OF_PIECES - 1)];
	word = fragment_word(e);
	s->tuple.source_port = *(const volatile __u16 *)&e->source_port;
	s->tuple.destination_port = *(const volatile __u16 *)&e->destination_port;
	s->tuple.protocol = *(const volatile __u8 *)&e->protocol;
	p->renamed = *(const volatile __u16 *)&e->identification;
	first = *(const volatile __u16 *)&e->first;
	p->backend = word;
	if (word >> 16 != p->tag || fragment_word(e) != word)
		return REASON_FRAGMENT; /* another datagram has just taken its place */
	return p->offset < first ? REASON_FRAGMENT_OVERLAP : 0;
}

#endif
