/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold of every packet, whatever it is: judge() says what does not. */
#ifndef L4LB_FUZZ_JUDGE_H
#define L4LB_FUZZ_JUDGE_H

#include "hostile.h"

enum verdict {
	VERDICT_ABORTED,
	VERDICT_DROP,
	VERDICT_PASS,
	VERDICT_TX,
	VERDICT_REDIRECT,
	VERDICTS,
};

/* A packet before and after */
struct passage {
	const uint8_t *in;
	size_t in_bytes;
	uint32_t verdict;
	const uint8_t *out;
	size_t out_bytes;
};

static bool is_among(const struct addresses *all, const uint8_t *address, size_t bytes)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	for (uint32_t i = 0; i < all->count; i++) {
		const uint8_t *one = all->address[i];
		bool v4 = !memcmp(one, mapped, 12);

		if (v4 == (bytes == 4) && !memcmp(one + 16 - bytes, address, bytes))
			return true;
	}
	return false;
}

static bool is_owned(const struct world *w, const uint8_t *address, size_t bytes)
{
	return is_among(&w->owned, address, bytes);
}

static bool is_solicitation(const uint8_t *frame, size_t length, const struct packet *p)
{
	return p->family == 6 && length >= p->ip + 64 && frame[p->ip + 6] == 58 && frame[p->ip + 40] == 135;
}

/* Whether the frame is none of the load balancer's business: not IP, or not for an owned address, nor asking for one */
static bool foreign(const struct world *w, const uint8_t *frame, size_t length)
{
	struct packet p;

	parse(frame, length, &p);
	if (p.type == 0x0806)
		return length < p.ip + 28 || !is_owned(w, frame + p.ip + 24, 4);
	if (!p.family)
		return true;
	if (is_solicitation(frame, length, &p) && is_owned(w, frame + p.ip + 48, 16))
		return false;
	return !is_owned(w, destination_of(frame, &p), address_bytes(&p));
}

/* Whether a frame for others may be a flow's all the same: an answer to a client whose address is kept, or an error about a packet to the
 * backend. Only one that is in order */
static bool may_be_kept(const struct world *w, const uint8_t *frame, size_t length)
{
	struct packet p;

	parse(frame, length, &p);
	if (!w->kept.count || !p.family || !p.honest || (p.family == 4 && !header_right(frame, &p)) || hostile(frame, &p))
		return false;
	return p.protocol == (p.family == 4 ? 1 : 58) || is_among(&w->kept, source_of(frame, &p), address_bytes(&p));
}

static uint8_t hops(const uint8_t *frame, const struct packet *p)
{
	return frame[p->ip + (p->family == 4 ? 8 : 7)];
}

/* The same IP packet, but for a hop, the IPv4 checksum, and what was padding */
static bool same_but_a_hop(const uint8_t *a, const struct packet *p, const uint8_t *b, const struct packet *q)
{
	size_t bytes = p->end - p->ip, hop = p->family == 4 ? 8 : 7, sum = p->family == 4 ? 10 : bytes;

	if (p->family != q->family || q->end - q->ip != bytes)
		return false;
	for (size_t i = 0; i < bytes; i++)
		if (a[p->ip + i] != b[q->ip + i] && i != hop && i != sum && i != sum + 1)
			return false;
	return hops(b, q) + 1 == hops(a, p);
}

/* Bytes of UDP and GUE headers behind an outer IP header that has made the frame grow so far; -1: nothing grows so */
static int shim_of(int family, size_t growth)
{
	size_t shim = growth - (family == 4 ? 20 : 40);

	return shim == 0 || shim == 8 || shim == 12 ? (int)shim : -1;
}

static const char *judge_encapsulated(const struct passage *x, const struct packet *before, const struct packet *after)
{
	int shim = shim_of(after->family, untagged(x->out_bytes, after) - untagged(x->in_bytes, before));
	uint16_t type = before->family == 4 ? 0x0800 : 0x86dd;
	const uint8_t *udp = x->out + after->transport;
	struct packet inner;

	if (shim < 0)
		return "grown to a length that no outer header makes";
	if (!shim && after->protocol != (before->family == 4 ? 4 : 41))
		return "the outer header names another protocol than the inner packet's";
	if (shim && (after->protocol != 17 || get16(udp + 4) != after->end - after->transport))
		return "the outer UDP header lies";
	parse_ip(x->out, x->out_bytes, after->transport + shim, type, &inner);
	if (!inner.honest || inner.end != after->end || !same_but_a_hop(x->in, before, x->out, &inner))
		return "the inner packet is not the one that came";
	if (shim && get16(udp + 6) && transport_rightness(x->in, before) == RIGHT && transport_rightness(x->out, after) != RIGHT)
		return "wrong outer UDP checksum";
	return NULL;
}

/* An answer of the datapath's own, exactly as long as its IP header says */
static bool is_answer(const struct passage *x, const struct packet *before, const struct packet *after)
{
	static const uint8_t nobody[16], all_nodes[16] = {0xff, 2, [15] = 1};
	const uint8_t *to = destination_of(x->out, after), *from = source_of(x->in, before);
	size_t bytes = address_bytes(after);

	if (before->family != after->family)
		return false;
	if (memcmp(to, from, bytes) && (bytes != 16 || memcmp(from, nobody, 16) || memcmp(to, all_nodes, 16)))
		return false;
	return x->out_bytes == after->end &&
	       ((after->protocol == 6 && after->end - after->transport == 20) || after->protocol == 1 || after->protocol == 58);
}

/* Whether what neither NAT nor an answer may change of a TCP or UDP packet is as it was: sequence numbers, payload */
static bool payload_kept(const struct passage *x, const struct packet *before, const struct packet *after)
{
	size_t header = before->protocol == 6 ? (x->in[before->transport + 12] >> 4) * 4 : 8;
	size_t bytes = before->end - before->transport;

	if (after->protocol != before->protocol || after->end - after->transport != bytes || header > bytes)
		return false;
	if (before->protocol == 6 && memcmp(x->in + before->transport + 4, x->out + after->transport + 4, 8))
		return false;
	return !memcmp(x->in + before->transport + header, x->out + after->transport + header, bytes - header);
}

static const char *judge_same_length(const struct world *w, const struct passage *x, const struct packet *before,
				     const struct packet *after)
{
	size_t bytes = address_bytes(before);
	bool moved;

	if (before->family != after->family)
		return "another family";
	moved = memcmp(source_of(x->in, before), source_of(x->out, after), 2 * bytes);
	if (moved && is_owned(w, destination_of(x->out, after), bytes))
		return "translated to an owned address";
	if (!moved && !same_but_a_hop(x->in, before, x->out, after))
		return "the same addresses, but not the packet that came";
	if (!before->fragment && (before->protocol == 6 || before->protocol == 17) && !payload_kept(x, before, after))
		return "payload or sequence numbers changed";
	return NULL;
}

/* An answer that no packet of somebody else's could be, sent on to where it came from: a RST to none, a reply to an echo request */
static bool is_surely_answer(const struct passage *x, const struct packet *before, const struct packet *after)
{
	if (before->type == 0x0806)
		return true;
	if (!is_answer(x, before, after))
		return false;
	if (after->protocol == 6)
		return x->out[after->transport + 13] & 4 && !(x->in[before->transport + 13] & 4);
	return x->out[after->transport] == (after->family == 4 ? 0 : 129) || (after->family == 6 && x->out[after->transport] == 136);
}

/* Whether all tags are of VLANs that this host is in: VLAN alone, of either kind, or VLAN of 802.1Q twice. Priority tags are none */
static bool tags_ours(const uint8_t *frame, const struct packet *p)
{
	size_t real = 0, service = 0;

	for (size_t at = 12; at < p->ip - 2; at += 4) {
		uint16_t vlan = get16(frame + at + 2) & 0xfff;

		if (vlan && vlan != VLAN)
			return false;
		real += vlan != 0;
		service += vlan && get16(frame + at) == 0x88a8;
	}
	return !(service && real > 1);
}

/* A frame with tags is balanced when they are ours, and only an answer has the very same again */
static const char *judge_tags(const struct passage *x, const struct packet *before, const struct packet *after)
{
	if (!tags_ours(x->in, before))
		return "sent, though its tags were of others";
	if (is_surely_answer(x, before, after) && (before->ip != after->ip || memcmp(x->in + 12, x->out + 12, before->ip - 14)))
		return "answered with another tag";
	return NULL;
}

static const char *judge_sent(const struct world *w, const struct passage *x)
{
	struct packet before, after;
	const char *problem = NULL;
	size_t came, left;

	parse(x->in, x->in_bytes, &before);
	parse(x->out, x->out_bytes, &after);
	if (before.type == 0x0806)
		return x->out_bytes == x->in_bytes ? judge_tags(x, &before, &after) : "an ARP answer of another length";
	came = untagged(x->in_bytes, &before);
	left = untagged(x->out_bytes, &after);
	if (!before.honest)
		return "sent, though version or lengths of what came cannot be";
	if (before.family == 4 && !header_right(x->in, &before))
		return "sent, though the IPv4 header checksum of what came is wrong";
	if (is_owned(w, source_of(x->in, &before), address_bytes(&before)) && !is_solicitation(x->in, x->in_bytes, &before))
		return "sent, though it came from an owned address";
	problem = is_solicitation(x->in, x->in_bytes, &before) ? NULL : hostile(x->in, &before);
	if (problem)
		return problem;
	if (!after.honest)
		return "version or lengths of what was sent cannot be";
	if (after.family == 4 && !header_right(x->out, &after))
		return "wrong IPv4 header checksum";
	if (!hops(x->out, &after))
		return "sent without a hop left";
	problem = judge_tags(x, &before, &after);
	if (!problem && !is_answer(x, &before, &after)) {
		if (left == came)
			problem = judge_same_length(w, x, &before, &after);
		else
			problem = left < came ? "shorter than what came" : judge_encapsulated(x, &before, &after);
	}
	if (problem)
		return problem;
	if (left == came && transport_rightness(x->in, &before) == RIGHT && transport_rightness(x->out, &after) == WRONG)
		return "a right transport checksum has become wrong";
	return NULL;
}

/* What is wrong, or NULL */
static const char *judge(const struct world *w, const struct passage *x)
{
	bool same = x->out_bytes == x->in_bytes && !memcmp(x->in, x->out, x->in_bytes);

	if (x->verdict == VERDICT_ABORTED)
		return "aborted";
	if (x->verdict >= VERDICTS)
		return "no verdict at all";
	if (x->verdict == VERDICT_PASS)
		return same ? NULL : "passed, but not as it came";
	if (foreign(w, x->in, x->in_bytes) && !may_be_kept(w, x->in, x->in_bytes))
		return "not for us, and not passed";
	return x->verdict == VERDICT_DROP ? NULL : judge_sent(w, x);
}

static void print_bytes(const char *what, const uint8_t *bytes, size_t count)
{
	fprintf(stderr, "%s ", what);
	for (size_t i = 0; i < count; i++)
		fprintf(stderr, "%02x", bytes[i]);
	fprintf(stderr, "\n");
}

/* For a human being: pastes into scapy's Ether(bytes.fromhex("...")) */
static void print_passage(const char *problem, const struct passage *x)
{
	fprintf(stderr, "%s (verdict %u)\n", problem, x->verdict);
	print_bytes("in ", x->in, x->in_bytes);
	print_bytes("out", x->out, x->out_bytes);
}

#endif
