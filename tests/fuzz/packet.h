/* SPDX-License-Identifier: Apache-2.0 */
/* The fuzzers' own idea of a packet, written without a look at the datapath's: what they judge it by must not share its mistakes. */
#ifndef L4LB_FUZZ_PACKET_H
#define L4LB_FUZZ_PACKET_H

#include "world.h"

#define MOST_TAGS 2
#define MOST_EXTENSIONS 8
#define VLAN 7 /* the one that world.py makes some worlds a member of */

struct packet {
	int family;       /* 4, 6, or 0: not IP, or cut before the addresses end */
	size_t ip;        /* offset of the IP header */
	size_t transport; /* of what comes behind it and its extension headers */
	size_t end;       /* by the IP header; never beyond the frame */
	uint16_t type;    /* EtherType behind the tags */
	uint8_t protocol;
	bool honest;      /* version and lengths hold, so that the fields above mean something */
	bool fragment;
};

static uint16_t get16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static void put16(uint8_t *p, uint16_t value)
{
	p[0] = value >> 8;
	p[1] = value;
}

static uint64_t sum_bytes(const uint8_t *p, size_t bytes)
{
	uint64_t sum = 0;

	for (size_t i = 0; i + 1 < bytes; i += 2)
		sum += get16(p + i);
	return bytes & 1 ? sum + (p[bytes - 1] << 8) : sum;
}

static uint16_t folded(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static bool is_extension(uint8_t kind)
{
	return kind == 0 || kind == 43 || kind == 44 || kind == 51 || kind == 60 || kind == 135 || kind == 139 || kind == 140;
}

static void parse_ipv4(const uint8_t *frame, size_t length, struct packet *p)
{
	const uint8_t *ip = frame + p->ip;
	size_t header, total;

	if (length < p->ip + 20)
		return;
	p->family = 4;
	header = (ip[0] & 15) * 4;
	total = get16(ip + 2);
	p->protocol = ip[9];
	p->fragment = get16(ip + 6) & 0x3fff;
	if (ip[0] >> 4 != 4 || header < 20 || total < header || p->ip + total > length)
		return;
	p->transport = p->ip + header;
	p->end = p->ip + total;
	p->honest = true;
}

static void parse_ipv6(const uint8_t *frame, size_t length, struct packet *p)
{
	const uint8_t *ip = frame + p->ip;

	if (length < p->ip + 40)
		return;
	p->family = 6;
	p->protocol = ip[6];
	p->transport = p->ip + 40;
	p->end = p->transport + get16(ip + 4);
	if (ip[0] >> 4 != 6 || p->end > length)
		return;
	for (int i = 0; i < MOST_EXTENSIONS && is_extension(p->protocol); i++) {
		const uint8_t *x = frame + p->transport;
		bool later;

		if (p->transport + 8 > p->end)
			return;
		later = p->protocol == 44 && get16(x + 2) & 0xfff8;
		p->fragment |= p->protocol == 44;
		p->transport += p->protocol == 44 ? 8 : p->protocol == 51 ? (x[1] + 2) * 4 : (x[1] + 1) * 8;
		p->protocol = x[0];
		if (later) /* what follows is the middle of something */
			break;
	}
	p->honest = p->transport <= p->end;
}

/* From the IP header at `ip` on, which is of `type` */
static void parse_ip(const uint8_t *frame, size_t length, size_t ip, uint16_t type, struct packet *p)
{
	memset(p, 0, sizeof(*p));
	p->ip = ip;
	p->type = type;
	if (type == 0x0800)
		parse_ipv4(frame, length, p);
	else if (type == 0x86dd)
		parse_ipv6(frame, length, p);
}

static void parse(const uint8_t *frame, size_t length, struct packet *p)
{
	uint16_t type = get16(frame + 12);
	size_t at = 14;

	for (int i = 0; i < MOST_TAGS && (type == 0x8100 || type == 0x88a8) && length >= at + 4; i++, at += 4)
		type = get16(frame + at + 2);
	parse_ip(frame, length, at, type, p);
}

/* Bytes of the frame without its tags */
static size_t untagged(size_t bytes, const struct packet *p)
{
	return bytes - (p->ip - 14);
}

static const uint8_t *source_of(const uint8_t *frame, const struct packet *p)
{
	return frame + p->ip + (p->family == 4 ? 12 : 8);
}

static const uint8_t *destination_of(const uint8_t *frame, const struct packet *p)
{
	return frame + p->ip + (p->family == 4 ? 16 : 24);
}

static size_t address_bytes(const struct packet *p)
{
	return p->family == 4 ? 4 : 16;
}

/* Of an honest IPv4 packet */
static bool header_right(const uint8_t *frame, const struct packet *p)
{
	return folded(sum_bytes(frame + p->ip, p->transport - p->ip)) == 0xffff;
}

enum rightness {
	RIGHT,
	WRONG,
	UNKNOWN, /* no transport that has a checksum, or none of it here */
};

static uint64_t pseudo_header(const uint8_t *frame, const struct packet *p)
{
	size_t bytes = p->end - p->transport;

	return sum_bytes(source_of(frame, p), 2 * address_bytes(p)) + bytes + p->protocol;
}

static enum rightness transport_rightness(const uint8_t *frame, const struct packet *p)
{
	size_t bytes = p->end - p->transport;
	const uint8_t *transport = frame + p->transport;
	uint64_t sum;

	if (!p->honest || p->fragment || bytes < 8 || (p->protocol == 6 && bytes < 20))
		return UNKNOWN;
	switch (p->protocol) {
	case 1:
		if (p->family != 4)
			return UNKNOWN;
		sum = 0;
		break;
	case 17:
		if (get16(transport + 4) != bytes)
			return UNKNOWN;
		if (!get16(transport + 6))
			return p->family == 4 ? RIGHT : WRONG;
		sum = pseudo_header(frame, p);
		break;
	case 58:
		if (p->family != 6)
			return UNKNOWN;
		sum = pseudo_header(frame, p);
		break;
	case 6:
		sum = pseudo_header(frame, p);
		break;
	default:
		return UNKNOWN;
	}
	return folded(sum + sum_bytes(transport, bytes)) == 0xffff ? RIGHT : WRONG;
}

#endif
