/* SPDX-License-Identifier: Apache-2.0 */
/* What no sound host sends, and no load balancer sends on: told by RFCs, without a look at the datapath. */
#ifndef L4LB_FUZZ_HOSTILE_H
#define L4LB_FUZZ_HOSTILE_H

#include "packet.h"

#define TCP_KINDS 0x37 /* FIN, SYN, RST, ACK, URG */

static bool is_martian(const uint8_t *source, int family)
{
	static const uint8_t zeros[4];

	if (family == 4)
		return source[0] == 0 || source[0] == 127 || source[0] >= 224;
	return source[0] == 0xff || !memcmp(source, zeros, 4);
}

/* Loose or strict, anywhere among the options */
static bool has_source_route(const uint8_t *ip)
{
	size_t header = (ip[0] & 15) * 4;

	for (size_t at = 20; at < header && ip[at];) {
		if (ip[at] == 131 || ip[at] == 137)
			return true;
		if (ip[at] != 1 && (at + 1 == header || ip[at + 1] < 2))
			return false;
		at += ip[at] == 1 ? 1 : ip[at + 1];
	}
	return false;
}

/* A routing header of type 0, or one that names hosts still to visit, within the chain that parse() has walked */
static bool has_routing_header(const uint8_t *ip, size_t transport)
{
	uint8_t kind = ip[6];

	for (size_t at = 40; at < transport;) {
		const uint8_t *x = ip + at;

		if (kind == 43 && (!x[2] || x[3]))
			return true;
		at += kind == 44 ? 8 : kind == 51 ? (x[1] + 2) * 4 : (x[1] + 1) * 8;
		kind = x[0];
	}
	return false;
}

static bool sent_by_a_tcp(uint8_t flags)
{
	static const uint8_t kinds[] = {0x02, 0x22, 0x12, 0x04, 0x14, 0x10, 0x30, 0x11, 0x31};

	for (size_t i = 0; i < sizeof(kinds); i++)
		if ((flags & TCP_KINDS) == kinds[i])
			return true;
	return false;
}

/* Why an honest packet, neither ARP nor a neighbour solicitation, must not be sent on or answered; NULL when nothing is wrong */
static const char *hostile(const uint8_t *frame, const struct packet *p)
{
	const uint8_t *ip = frame + p->ip;

	if ((frame[0] | frame[6]) & 1)
		return "sent, though it came in a frame for many or from a group";
	if (is_martian(source_of(frame, p), p->family))
		return "sent, though no host has its source";
	if (p->family == 4 ? has_source_route(ip) : has_routing_header(ip, p->transport - p->ip))
		return "sent, though it is routed by its source";
	if (p->protocol == 6 && !p->fragment && p->end - p->transport >= 20 && !sent_by_a_tcp(frame[p->transport + 13]))
		return "sent, though no TCP sends these flags together";
	return NULL;
}

#endif
