/* SPDX-License-Identifier: Apache-2.0 */
/* The benchmark's programs. BPF_PROG_TEST_RUN does not restore the packet between two repetitions, so `wrapper` writes every header
 * afresh, for a flow chosen by `plan`, and tail-calls what is measured. The programs of the datapath run exactly as they are attached. */
#include "types.h"
#include "choice.h"
#include "counters.h"
#include "policy.h"
#include "records.h"
#include "capture_types.h"
#include "datagram.h"
#include "reasons.h"
#include "packet.h"
#include "scratch.h"

#define FRAME_WORDS 10 /* words of 8 bytes that the headers of IPv6 and TCP take */
#define PORTS_SHIFT 15 /* a flow's number is its client's address (upper bits) and port (lower bits) */
#define FIRST_PORT 1024

#define CHOOSE_SEQUENTIAL 0
#define CHOOSE_RANDOM 1

#define TARGET_DATAPATH 0
#define TARGET_NOTHING 1
#define TARGET_LINE 2

struct plan {
	__u64 frame[FRAME_WORDS]; /* headers of flow 0 */
	__u64 random;             /* state of xorshift64 (Marsaglia 2003) */
	__u32 flows;
	__u32 choose;
	__u32 next;
	__u32 words;    /* of the frame: 7 for IPv4, 10 for IPv6 */
	__u32 reply;    /* the packets are the backend's answers: addresses and ports come from `tuples` */
	__u32 sum;      /* IPv4: of the header's 16-bit words in host order, without addresses and checksum */
	__u32 failed;   /* flows that gather did not find */
	__u32 bytes;    /* of the frame: what the datapath has put before it is taken off again */
	__u32 services; /* 0, or among how many VIPs in a row the flows are spread */
	__u32 reserved;
};

/* Where the answers of a flow come from and go to: written by `gather` */
struct answers {
	struct address backend;
	struct address snat;
	__u16 backend_port;
	__u16 snat_port;
	__u32 reserved;
};

BPF_TABLE("array", u32, struct plan, plans, 1);
BPF_TABLE("array", u32, struct answers, tuples, 1);
BPF_TABLE("prog", u32, u32, targets, 1);
BPF_TABLE("percpu_array", u32, u64, arrived, 1);
BPF_TABLE("array", u32, struct config, config, 1);
BPF_TABLE("percpu_array", u32, struct scratch, scratch, 1);
BPF_TABLE("array", u32, struct service, services, 1);
BPF_TABLE("array", u32, struct flow, flows, 1);
BPF_TABLE("array", u32, struct flow_v6, flows_v6, 1);
BPF_TABLE("array", u32, struct bucket, flow_index, 1);
BPF_TABLE("array", u32, struct unanswered, unanswered, 1);
BPF_TABLE("array", u32, struct flow_bucket, flow_table, 1);

static __always_inline struct service *service_get(__u32 element)
{
	return services.lookup(&element);
}

static __always_inline struct flow *flow_get(__u32 element)
{
	return flows.lookup(&element);
}

static __always_inline struct flow_v6 *flow_v6_get(__u32 element)
{
	return flows_v6.lookup(&element);
}

static __always_inline struct bucket *flow_index_get(__u32 element)
{
	return flow_index.lookup(&element);
}

static __always_inline struct unanswered *unanswered_get(__u32 element)
{
	return unanswered.lookup(&element);
}

#include "hash.h"
#include "mask.h"
#include "flow_index.h"
#include "flow.h"

static __always_inline __u32 choose(struct plan *plan)
{
	if (plan->choose == CHOOSE_RANDOM) {
		__u64 x = plan->random;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		plan->random = x;
		return ((x >> 32) * plan->flows) >> 32;
	}
	__u32 flow = plan->next;

	plan->next = flow + 1 < plan->flows ? flow + 1 : 0;
	return flow;
}

static __always_inline __u16 header_checksum(__u32 sum, __u32 source, __u32 destination)
{
	sum += (source >> 16) + (source & 0xffff) + (destination >> 16) + (destination & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return ~sum;
}

/* Addresses and ports of an IPv4 packet; ports of TCP and UDP lie at the same place. */
static __always_inline void address_v4(struct plan *plan, struct answers *tuple, __u32 flow, void *data)
{
	struct ipv4 *ip = data + IP_OFFSET;
	struct udp *ports = data + IP_OFFSET + IPV4_BYTES;

	if (tuple) {
		ip->source = tuple->backend.word[3];
		ip->destination = tuple->snat.word[3];
		ports->source = tuple->backend_port;
		ports->destination = tuple->snat_port;
	} else {
		ip->source = htonl(ntohl(ip->source) + (flow >> PORTS_SHIFT));
		if (plan->services)
			ip->destination = htonl(ntohl(ip->destination) + flow % plan->services);
		ports->source = htons(FIRST_PORT + (flow & ((1 << PORTS_SHIFT) - 1)));
	}
	ip->checksum = htons(header_checksum(plan->sum, ntohl(ip->source), ntohl(ip->destination)));
}

static __always_inline void address_v6(struct answers *tuple, __u32 flow, void *data)
{
	struct ipv6 *ip = data + IP_OFFSET;
	struct udp *ports = data + IP_OFFSET + IPV6_BYTES;

	if (tuple) {
		__builtin_memcpy(ip->source, tuple->backend.word, 16);
		__builtin_memcpy(ip->destination, tuple->snat.word, 16);
		ports->source = tuple->backend_port;
		ports->destination = tuple->snat_port;
	} else {
		ip->source[3] = htonl(ntohl(ip->source[3]) + (flow >> PORTS_SHIFT));
		ports->source = htons(FIRST_PORT + (flow & ((1 << PORTS_SHIFT) - 1)));
	}
}

static __always_inline void copy_words(__u64 *to, const __u64 *from, int first, int last)
{
	int i;

#pragma unroll
	for (i = first; i < last; i++)
		to[i] = from[i];
}

/* Writes the headers of the next packet into the frame; 0 when it is too short. Outer headers of the packet before are taken off first:
 * that is part of what an encapsulation costs here. */
static __always_inline int write_packet(struct xdp_md *ctx)
{
	__u32 zero = 0, there = ctx->data_end - ctx->data;
	struct plan *plan = plans.lookup(&zero);
	struct answers *tuple = 0;
	void *data, *end;

	if (!plan || (there != plan->bytes && bpf_xdp_adjust_head(ctx, (int)(there - plan->bytes))))
		return 0;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + 56 > end)
		return 0;
	__u32 flow = choose(plan);

	if (plan->reply) {
		tuple = tuples.lookup(&flow);
		if (!tuple)
			return 0;
	}
	copy_words(data, plan->frame, 0, 7);
	if (plan->words == 7) {
		address_v4(plan, tuple, flow, data);
		return 1;
	}
	if (data + 80 > end)
		return 0;
	copy_words(data, plan->frame, 7, FRAME_WORDS);
	address_v6(tuple, flow, data);
	return 1;
}

static __always_inline int hand_over(struct xdp_md *ctx, int target)
{
	if (!write_packet(ctx))
		return XDP_ABORTED;
	targets.call(ctx, target);
	return XDP_ABORTED;
}

/* A wrapper for each target, since a tail call with a constant index is the cheap one */
int wrapper(struct xdp_md *ctx)
{
	return hand_over(ctx, TARGET_DATAPATH);
}

int empty_wrapper(struct xdp_md *ctx)
{
	return hand_over(ctx, TARGET_NOTHING);
}

int nothing(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_TX;
}

int line_wrapper(struct xdp_md *ctx)
{
	return hand_over(ctx, TARGET_LINE);
}

/* The floor of whatever looks a flow up: one line of a table as large as the datapath's, which the packet's source picks. The next packet
 * waits for it, else a CPU works at several of these at once, as it cannot at packets that are forwarded. */
int line(struct xdp_md *ctx)
{
	const struct ipv4 *ip = bytes_at(ctx, IP_OFFSET, IPV4_BYTES);
	const struct udp *ports = bytes_at(ctx, IP_OFFSET + IPV4_BYTES, UDP_BYTES);
	__u32 zero = 0, picked;
	struct plan *plan = plans.lookup(&zero);
	struct config *c = config.lookup(&zero);
	struct flow_bucket *bucket;

	if (!ip || !ports || !c || !plan)
		return XDP_ABORTED;
	picked = ((__u64)ip->source << 16 | ports->source) * MIX_2 >> 32 & c->flow_mask;
	bucket = flow_table.lookup(&picked);
	if (!bucket)
		return XDP_ABORTED;
	plan->random ^= bucket->entry[0].word >> 32;
	return XDP_TX;
}

/* Sends what the wrapper would have handed over: with live frames XDP_TX leaves by the interface of the run */
int generator(struct xdp_md *ctx)
{
	return write_packet(ctx) ? XDP_TX : XDP_ABORTED;
}

/* The far end of the generator's veth */
int sink(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *count = arrived.lookup(&zero);

	(void)ctx;
	if (count)
		*count += 1;
	return XDP_DROP;
}

/* The yardstick: swap the MACs and send back. */
int yardstick(struct xdp_md *ctx)
{
	struct ethernet *ethernet = bytes_at(ctx, 0, sizeof(*ethernet));
	__u8 mac[6];

	if (!ethernet)
		return XDP_ABORTED;
	copy_mac(mac, ethernet->source);
	copy_mac(ethernet->source, ethernet->destination);
	copy_mac(ethernet->destination, mac);
	return XDP_TX;
}

/* The tuple of the flow's packets as the datapath makes it of the frame in the plan */
static __always_inline void tuple_of(struct plan *plan, __u32 flow, struct scratch *s)
{
	struct tuple *t = &s->tuple;
	void *frame = plan->frame;
	struct udp *ports;

	if (plan->words == 7) {
		struct ipv4 *ip = frame + IP_OFFSET;

		ports = frame + IP_OFFSET + IPV4_BYTES;
		mapped_address(&t->source, ip->source);
		mapped_address(&t->destination, ip->destination);
		t->protocol = ip->protocol;
		s->family = 4;
	} else {
		struct ipv6 *ip = frame + IP_OFFSET;

		ports = frame + IP_OFFSET + IPV6_BYTES;
		__builtin_memcpy(t->source.word, ip->source, 16);
		__builtin_memcpy(t->destination.word, ip->destination, 16);
		t->protocol = ip->next_header;
		s->family = 6;
	}
	t->source.word[3] = htonl(ntohl(t->source.word[3]) + (flow >> PORTS_SHIFT));
	t->source_port = htons(FIRST_PORT + (flow & ((1 << PORTS_SHIFT) - 1)));
	t->destination_port = ports->destination;
}

/* Notes in `tuples` how the next flow's answers are addressed. */
int gather(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct plan *plan = plans.lookup(&zero);
	struct scratch *s = scratch.lookup(&zero);
	struct config *c = config.lookup(&zero);

	(void)ctx;
	if (!plan || !s || !c)
		return XDP_ABORTED;
	__u32 number = choose(plan);
	struct answers *tuple = tuples.lookup(&number);

	tuple_of(plan, number, s);
	if (!tuple || !flow_record(s, c, tuple_hash(&s->tuple, c->slot_secret), true)) {
		plan->failed++;
		return XDP_ABORTED;
	}
	copy_address(&tuple->backend, &s->becomes.destination);
	copy_address(&tuple->snat, &s->becomes.source);
	tuple->backend_port = s->becomes.destination_port;
	tuple->snat_port = s->becomes.source_port;
	return XDP_DROP;
}
