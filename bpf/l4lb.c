/* SPDX-License-Identifier: Apache-2.0 */
/* The datapath's programs, maps and the accessors of maps: BCC translates map accesses in this file only, hence all of them are here. Map
 * sizes are the agent's (model/mapspec.py); here each has one element, since BCC creates what it compiles. */
#include "types.h"
#include "choice.h"
#include "counters.h"
#include "policy.h"
#include "reasons.h"
#include "packet.h"
#include "scratch.h"

/* BCC generates a printer for each slot of a ring unless a ring is bytes to it: four seconds of compilation */
#define RING_BYTES(slots) struct ring_bytes_##slots { __u8 bytes[sizeof(struct ring_##slots)]; }
RING_BYTES(1021); RING_BYTES(4093); RING_BYTES(16381); RING_BYTES(65537);

BPF_ARRAY(config, struct config, 1);
BPF_ARRAY(snat, struct address, 1);
BPF_ARRAY(index, struct bucket, 1);
BPF_ARRAY(addresses, struct owned_address, 1);
BPF_ARRAY(port_ranges, struct port_ranges, 1);
BPF_ARRAY(services, struct service, 1);
BPF_ARRAY(policies, struct policy, 1);
BPF_F_TABLE("lpm_trie", struct list_key, __u32, lists, 1, BPF_F_NO_PREALLOC);
BPF_ARRAY(rings_1021, struct ring_bytes_1021, 1);
BPF_ARRAY(rings_4093, struct ring_bytes_4093, 1);
BPF_ARRAY(rings_16381, struct ring_bytes_16381, 1);
BPF_ARRAY(rings_65537, struct ring_bytes_65537, 1);
BPF_ARRAY(backends, struct backend, 1);
BPF_TABLE("hash", struct flow_key, struct flow, flows, 1);
BPF_TABLE("hash", struct reply_key, struct reply, replies, 1);
BPF_ARRAY(port_full, __u32, 1);
BPF_ARRAY(interfaces, struct interface, 1);
BPF_ARRAY(flow_table, struct flow_bucket, 1);
BPF_ARRAY(service_limits, struct limit_line, 1);
BPF_ARRAY(source_limits, struct limit_line, 1);
BPF_PERCPU_ARRAY(service_counters, struct traffic, 1);
BPF_PERCPU_ARRAY(backend_counters, struct traffic, 1);
BPF_PERCPU_ARRAY(reason_counters, struct count, 1);
/* These five belong to one generation of the programs */
BPF_PERCPU_ARRAY(scratch, struct scratch, 1);
BPF_PERCPU_ARRAY(rst_budget, struct budget, 1);
BPF_PERCPU_ARRAY(icmp_budget, struct budget, 1);
BPF_PERCPU_ARRAY(too_big_budget, struct budget, 1);
BPF_PROG_ARRAY(tails, TAILS);

static __always_inline struct config *config_get(void)
{
	__u32 zero = 0;

	return config.lookup(&zero);
}

static __always_inline struct scratch *scratch_get(void)
{
	__u32 zero = 0;

	return scratch.lookup(&zero);
}

static __always_inline struct budget *rst_budget_get(void)
{
	__u32 zero = 0;

	return rst_budget.lookup(&zero);
}

static __always_inline struct budget *icmp_budget_get(void)
{
	__u32 zero = 0;

	return icmp_budget.lookup(&zero);
}

static __always_inline struct budget *too_big_budget_get(void)
{
	__u32 zero = 0;

	return too_big_budget.lookup(&zero);
}

static __always_inline struct address *snat_get(__u32 element)
{
	return snat.lookup(&element);
}

static __always_inline struct bucket *bucket_get(__u32 element)
{
	return index.lookup(&element);
}

static __always_inline struct owned_address *owned_get(__u32 element)
{
	return addresses.lookup(&element);
}

static __always_inline struct port_ranges *port_ranges_get(__u32 element)
{
	return port_ranges.lookup(&element);
}

static __always_inline struct service *service_get(__u32 element)
{
	return services.lookup(&element);
}

static __always_inline struct policy *policy_get(__u32 element)
{
	return policies.lookup(&element);
}

static __always_inline __u32 *list_get(struct list_key *key)
{
	return lists.lookup(key);
}

static __always_inline struct ring_1021 *ring_1021_get(__u32 element)
{
	return (struct ring_1021 *)rings_1021.lookup(&element);
}

static __always_inline struct ring_4093 *ring_4093_get(__u32 element)
{
	return (struct ring_4093 *)rings_4093.lookup(&element);
}

static __always_inline struct ring_16381 *ring_16381_get(__u32 element)
{
	return (struct ring_16381 *)rings_16381.lookup(&element);
}

static __always_inline struct ring_65537 *ring_65537_get(__u32 element)
{
	return (struct ring_65537 *)rings_65537.lookup(&element);
}

static __always_inline struct backend *backend_get(__u32 element)
{
	return backends.lookup(&element);
}

static __always_inline __u32 *port_full_get(__u32 element)
{
	return port_full.lookup(&element);
}

static __always_inline struct interface *interface_get(__u32 element)
{
	return interfaces.lookup(&element);
}

static __always_inline struct flow_bucket *flow_bucket_get(__u32 element)
{
	return flow_table.lookup(&element);
}

static __always_inline struct limit_line *service_limit_get(__u32 element)
{
	return service_limits.lookup(&element);
}

static __always_inline struct limit_line *source_limit_get(__u32 element)
{
	return source_limits.lookup(&element);
}

static __always_inline struct traffic *service_traffic(__u32 element)
{
	return service_counters.lookup(&element);
}

static __always_inline struct traffic *backend_traffic(__u32 element)
{
	return backend_counters.lookup(&element);
}

static __always_inline struct count *reason_count(__u32 element)
{
	return reason_counters.lookup(&element);
}

static __always_inline struct flow *flow_get(struct flow_key *key)
{
	return flows.lookup(key);
}

/* Returns 0, -EEXIST, -E2BIG or -ENOMEM */
static __always_inline int flow_claim(struct flow_key *key, struct flow *flow)
{
	return flows.insert(key, flow);
}

/* In the place of an element that is there */
static __always_inline int flow_put(struct flow_key *key, struct flow *flow)
{
	return flows.update(key, flow);
}

static __always_inline struct reply *reply_get(struct reply_key *key)
{
	return replies.lookup(key);
}

/* The port allocation: atomic, as the kernel's insertion is. Returns 0, -EEXIST, -E2BIG or -ENOMEM */
static __always_inline int reply_claim(struct reply_key *key, struct reply *reply)
{
	return replies.insert(key, reply);
}

/* Only to undo a claim just made: another CPU could have claimed the key of an older one again */
static __always_inline void reply_delete(struct reply_key *key)
{
	replies.delete(key);
}

/* Returns only when the program is missing */
static __always_inline void tail_call(struct xdp_md *ctx, int program)
{
	tails.call(ctx, program);
}

#include "finish.h"
#include "outcome.h"
#include "hash.h"
#include "clock.h"
#include "checksum.h"
#include "parse.h"
#include "message.h"
#include "index.h"
#include "source.h"
#include "ring.h"
#include "limit.h"
#include "lists.h"
#include "flow.h"
#include "tcp.h"
#include "next_hop.h"
#include "nat.h"
#include "mss.h"
#include "new_flow.h"
#include "answer.h"
#include "error.h"
#include "unreachable.h"
#include "neighbour.h"
#include "track.h"
#include "encap.h"
#include "direct.h"
#include "balance.h"
#include "quote.h"
#include "echo.h"
#include "icmp.h"
#include "too_big.h"
#include "answered.h"

/* The hot program: every packet of an attached interface */
int xdp_l4lb(struct xdp_md *ctx)
{
	const struct config *c = config_get();
	struct scratch *s = scratch_get();

	if (!c || !s)
		return XDP_PASS; /* cannot be: both are arrays with one element */
	s->frame_bytes = ctx->data_end - ctx->data;
	return finish(s, road(ctx, s, c));
}

/* TAIL_ICMP */
int icmp(struct xdp_md *ctx)
{
	const struct config *c = config_get();
	struct scratch *s = scratch_get();

	if (!c || !s)
		return XDP_DROP;
	return finish(s, icmp_packet(ctx, s, c));
}

/* TAIL_NAT_NEW */
int nat_new(struct xdp_md *ctx)
{
	const struct config *c = config_get();
	struct scratch *s = scratch_get();

	if (!c || !s)
		return XDP_DROP;
	return finish(s, new_flow(ctx, s, c));
}

/* TAIL_ANSWER */
int answer(struct xdp_md *ctx)
{
	const struct config *c = config_get();
	struct scratch *s = scratch_get();

	if (!c || !s)
		return XDP_DROP;
	return finish(s, answered(ctx, s, c));
}
