/* SPDX-License-Identifier: Apache-2.0 */
/* Makes frames of frames: bytes, fields, options, extension headers, tags, addresses and ports changed at random, lengths and checksums
 * set right again more often than not, so that what is deep in the datapath is reached too. The same seed makes the same frames. */
#ifndef L4LB_FUZZ_MUTATE_H
#define L4LB_FUZZ_MUTATE_H

#include "packet.h"

struct draft {
	size_t length;
	uint8_t bytes[FRAME_BYTES];
};

/* splitmix64 (Steele et al. 2014) */
static uint64_t draw(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* 0 to below - 1 */
static uint32_t draw_below(uint64_t *state, uint32_t below)
{
	return below ? (draw(state) >> 32) * below >> 32 : 0;
}

static uint16_t draw_interesting(uint64_t *state)
{
	static const uint16_t values[] = {0, 1, 2, 7, 8, 19, 20, 40, 0x7f, 0x80, 0xff, 0x100, 0x1fff, 0x2000, 0x3fff, 0x4000, 0x8000, 0xfffe, 0xffff};
	uint32_t i = draw_below(state, 2 * sizeof(values) / sizeof(values[0]));

	return i < sizeof(values) / sizeof(values[0]) ? values[i] : draw(state);
}

/* Room for `bytes` at `at`; they are random. False when the frame would be too long. */
static bool insert_bytes(uint64_t *state, struct draft *d, size_t at, size_t bytes)
{
	if (at > d->length || d->length + bytes > FRAME_BYTES)
		return false;
	memmove(d->bytes + at + bytes, d->bytes + at, d->length - at);
	d->length += bytes;
	for (size_t i = 0; i < bytes; i++)
		d->bytes[at + i] = draw(state);
	return true;
}

static void remove_bytes(struct draft *d, size_t at, size_t bytes)
{
	if (at + bytes > d->length || d->length - bytes < 14)
		return;
	memmove(d->bytes + at, d->bytes + at + bytes, d->length - at - bytes);
	d->length -= bytes;
}

/* Seldom in the Ethernet header: nothing behind it is looked at when that is wrong */
static size_t draw_place(uint64_t *state, const struct draft *d)
{
	if (!draw_below(state, 24) || d->length <= 14)
		return draw_below(state, d->length);
	return 14 + draw_below(state, draw_below(state, 2) && d->length > 94 ? 80 : d->length - 14);
}

static void change_byte(uint64_t *state, struct draft *d)
{
	d->bytes[draw_place(state, d)] = draw_interesting(state);
}

static void change_bit(uint64_t *state, struct draft *d)
{
	d->bytes[draw_place(state, d)] ^= 1 << draw_below(state, 8);
}

static void change_word(uint64_t *state, struct draft *d)
{
	size_t at = draw_place(state, d);

	if (at + 2 <= d->length)
		put16(d->bytes + at, draw_interesting(state));
}

static void double_piece(uint64_t *state, struct draft *d)
{
	size_t at = draw_place(state, d), bytes = 1 + draw_below(state, 40);

	if (at + bytes <= d->length && insert_bytes(state, d, at, bytes))
		memcpy(d->bytes + at, d->bytes + at + bytes, bytes);
}

static void remove_piece(uint64_t *state, struct draft *d)
{
	remove_bytes(d, draw_place(state, d), 1 + draw_below(state, 40));
}

static void cut_end(uint64_t *state, struct draft *d)
{
	d->length = 14 + draw_below(state, d->length - 13);
}

static void pad_end(uint64_t *state, struct draft *d)
{
	insert_bytes(state, d, d->length, draw_below(state, 8) ? 1 + draw_below(state, 64) : draw_below(state, FRAME_BYTES));
}

/* A field of the IP header that decides a packet's road */
static void change_field(uint64_t *state, struct draft *d)
{
	static const uint8_t fields[2][10] = {{0, 1, 2, 3, 4, 6, 7, 8, 9, 10}, {0, 1, 4, 5, 6, 7, 3, 6, 7, 6}};
	static const uint8_t protocols[] = {0, 1, 4, 6, 17, 41, 43, 44, 50, 51, 58, 59, 60, 132, 135, 139, 140};
	struct packet p;
	uint8_t *field;

	parse(d->bytes, d->length, &p);
	if (!p.family)
		return;
	field = d->bytes + p.ip + fields[p.family == 6][draw_below(state, 10)];
	*field = draw_interesting(state);
	if (!draw_below(state, 3))
		d->bytes[p.ip + (p.family == 4 ? 9 : 6)] = protocols[draw_below(state, sizeof(protocols))];
}

/* Flags and offset of a fragment of IPv4 */
static void make_fragment(uint64_t *state, struct draft *d)
{
	struct packet p;

	parse(d->bytes, d->length, &p);
	if (p.family == 4)
		put16(d->bytes + p.ip + 6, draw_below(state, 2) ? 0x2000 : (draw_below(state, 2) << 13) | draw_below(state, 200));
}

static void insert_options(uint64_t *state, struct draft *d)
{
	static const uint8_t kinds[] = {0, 1, 7, 68, 130, 131, 137, 148, 255};
	size_t bytes = 4 * (1 + draw_below(state, 10));
	struct packet p;
	uint8_t *ip;

	parse(d->bytes, d->length, &p);
	if (p.family != 4 || !insert_bytes(state, d, p.ip + 20, bytes))
		return;
	ip = d->bytes + p.ip;
	ip[0] = 0x40 | ((ip[0] + bytes / 4) & 15);
	put16(ip + 2, get16(ip + 2) + bytes);
	ip[20] = kinds[draw_below(state, sizeof(kinds))];
	if (draw_below(state, 2))
		ip[21] = draw_below(state, bytes + 2);
}

static void insert_extension(uint64_t *state, struct draft *d)
{
	static const uint8_t kinds[] = {0, 43, 44, 51, 60, 135, 139, 140, 253};
	size_t bytes = 8 * (1 + draw_below(state, 3));
	uint8_t *ip, kind = kinds[draw_below(state, sizeof(kinds))];
	struct packet p;

	parse(d->bytes, d->length, &p);
	if (p.family != 6 || !insert_bytes(state, d, p.ip + 40, bytes))
		return;
	ip = d->bytes + p.ip;
	put16(ip + 4, get16(ip + 4) + bytes);
	ip[40] = ip[6];
	ip[6] = kind;
	ip[41] = kind == 51 ? bytes / 4 - 2 : bytes / 8 - 1;
	if (kind == 44)
		put16(ip + 42, draw_below(state, 3) ? draw_below(state, 2) : draw_below(state, 400) << 3);
	else if (draw_below(state, 2))
		ip[43] = 0; /* of a routing header: segments left */
}

static void change_tag(uint64_t *state, struct draft *d)
{
	uint16_t type = get16(d->bytes + 12);

	if ((type == 0x8100 || type == 0x88a8) && draw_below(state, 3)) {
		if (draw_below(state, 2))
			remove_bytes(d, 12, 4);
		else if (d->length >= 16)
			put16(d->bytes + 14, draw_below(state, 2) ? VLAN : draw_interesting(state));
	} else if (!draw_below(state, 4) && insert_bytes(state, d, 12, 4)) {
		put16(d->bytes + 12, draw_below(state, 3) ? 0x8100 : 0x88a8);
	}
}

static void change_address(uint64_t *state, const struct world *w, struct draft *d)
{
	const uint8_t *address = w->known.address[draw_below(state, w->known.count)];
	struct packet p;
	size_t bytes;

	parse(d->bytes, d->length, &p);
	if (!p.family)
		return;
	bytes = address_bytes(&p);
	memcpy(d->bytes + p.ip + (p.family == 4 ? 12 : 8) + bytes * draw_below(state, 2), address + 16 - bytes, bytes);
}

static void change_port(uint64_t *state, const struct world *w, struct draft *d)
{
	size_t at;
	struct packet p;

	parse(d->bytes, d->length, &p);
	at = p.transport + 2 * draw_below(state, 2);
	if (p.honest && at + 2 <= d->length)
		memcpy(d->bytes + at, &w->port[draw_below(state, w->port_count)], 2);
}

static void change_tcp(uint64_t *state, struct draft *d)
{
	static const uint8_t flags[] = {0x00, 0x01, 0x02, 0x04, 0x10, 0x11, 0x12, 0x14, 0x18, 0x3f, 0x29, 0x03, 0x06};
	struct packet p;
	uint8_t *tcp;

	parse(d->bytes, d->length, &p);
	if (!p.honest || p.protocol != 6 || p.end < p.transport + 20)
		return;
	tcp = d->bytes + p.transport;
	switch (draw_below(state, 4)) {
	case 0:
		tcp[12] = draw(state);
		break;
	case 1:
		tcp[4 + draw_below(state, 8)] = draw(state); /* sequence and acknowledgement */
		break;
	default:
		tcp[13] = flags[draw_below(state, sizeof(flags))];
	}
}

/* The end of another frame behind the beginning of this one */
static void splice(uint64_t *state, const struct world *w, struct draft *d)
{
	const struct frame *other = &w->seed.frame[draw_below(state, w->seed.count)];
	size_t at = 14 + draw_below(state, d->length - 13), from = draw_below(state, other->length);

	if (at + other->length - from > FRAME_BYTES)
		return;
	memcpy(d->bytes + at, other->bytes + from, other->length - from);
	d->length = at + other->length - from;
}

static void mutate_once(uint64_t *state, const struct world *w, struct draft *d)
{
	switch (draw_below(state, 20)) {
	case 0: case 1: case 2:
		return change_byte(state, d);
	case 3: case 4:
		return change_bit(state, d);
	case 5: case 6:
		return change_word(state, d);
	case 7:
		return double_piece(state, d);
	case 8:
		return remove_piece(state, d);
	case 9:
		return cut_end(state, d);
	case 10:
		return pad_end(state, d);
	case 11:
		return change_field(state, d);
	case 12:
		return make_fragment(state, d);
	case 13:
		return insert_options(state, d);
	case 14:
		return insert_extension(state, d);
	case 15:
		return change_tag(state, d);
	case 16:
		return change_address(state, w, d);
	case 17:
		return change_port(state, w, d);
	case 18:
		return change_tcp(state, d);
	default:
		return splice(state, w, d);
	}
}

static void mend_lengths(struct draft *d)
{
	struct packet p;

	parse(d->bytes, d->length, &p);
	if (p.family == 4)
		put16(d->bytes + p.ip + 2, d->length - p.ip);
	else if (p.family == 6)
		put16(d->bytes + p.ip + 4, d->length - p.ip - 40);
	parse(d->bytes, d->length, &p);
	if (p.honest && p.protocol == 17 && p.end >= p.transport + 8)
		put16(d->bytes + p.transport + 4, p.end - p.transport);
}

static void mend_transport(struct draft *d)
{
	struct packet p;
	uint8_t *field;
	uint16_t sum;

	parse(d->bytes, d->length, &p);
	if (transport_rightness(d->bytes, &p) != WRONG)
		return;
	field = d->bytes + p.transport + (p.protocol == 6 ? 16 : p.protocol == 17 ? 6 : 2);
	put16(field, 0);
	sum = ~folded((p.protocol == 1 ? 0 : pseudo_header(d->bytes, &p)) + sum_bytes(d->bytes + p.transport, p.end - p.transport));
	put16(field, sum ? sum : 0xffff);
}

static void mend_header(struct draft *d)
{
	size_t header;
	struct packet p;

	parse(d->bytes, d->length, &p);
	if (p.family != 4)
		return;
	header = (d->bytes[p.ip] & 15) * 4;
	if (header < 20 || p.ip + header > d->length)
		return;
	put16(d->bytes + p.ip + 10, 0);
	put16(d->bytes + p.ip + 10, ~folded(sum_bytes(d->bytes + p.ip, header)));
}

static void take_seed(uint64_t *state, const struct world *w, struct draft *d)
{
	const struct frame *seed = &w->seed.frame[draw_below(state, w->seed.count)];

	d->length = seed->length;
	memcpy(d->bytes, seed->bytes, seed->length);
}

/* At least the 14 bytes without which the kernel runs nothing, and never all of FRAME_BYTES: outer headers have to fit */
static void mutate(uint64_t *state, const struct world *w, struct draft *d)
{
	static const uint8_t rounds[] = {0, 1, 1, 1, 2, 2, 3, 4, 8};
	uint32_t count = rounds[draw_below(state, sizeof(rounds))];

	for (uint32_t i = 0; i < count; i++)
		mutate_once(state, w, d);
	if (draw_below(state, 4))
		mend_lengths(d);
	if (draw_below(state, 3))
		mend_transport(d);
	if (draw_below(state, 16))
		mend_header(d);
}

#endif
