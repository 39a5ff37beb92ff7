/* SPDX-License-Identifier: Apache-2.0 */
/* The datapath's programs and the accessors of its maps: BCC translates map accesses in this file only, hence all of them are here. */
#include "types.h"
#include "choice.h"
#include "counters.h"
#include "policy.h"
#include "records.h"
#include "capture_types.h"
#include "datagram.h"
#include "probe_types.h"
#include "reasons.h"
#include "packet.h"
#include "scratch.h"
#include "maps.h"

static __always_inline struct config *config_get(void)
{
	return config.lookup(&(__u32){0});
}

static __always_inline struct scratch *scratch_get(void)
{
	return scratch.lookup(&(__u32){0});
}

static __always_inline struct budget *budget_get(__u32 kind)
{
	return budgets.lookup(&kind);
}

static __always_inline struct address *snat_get(__u32 element)
{
	return snat.lookup(&element);
}

static __always_inline struct bucket *bucket_get(__u32 element)
{
	return index.lookup(&element);
}

static __always_inline struct bucket *kept_get(__u32 element)
{
	return kept.lookup(&element);
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

static __always_inline struct vlan *vlan_get(__u32 element)
{
	return vlans.lookup(&element);
}

static __always_inline struct flow_bucket *flow_bucket_get(__u32 element)
{
	return flow_table.lookup(&element);
}

static __always_inline struct affinity_bucket *affinity_get(__u32 element)
{
	return affinity.lookup(&element);
}

static __always_inline struct limit_line *service_limit_get(__u32 element)
{
	return service_limits.lookup(&element);
}

static __always_inline struct limit_line *source_limit_get(__u32 element)
{
	return source_limits.lookup(&element);
}

static __always_inline struct fragment_bucket *fragment_bucket_get(__u32 element)
{
	return fragments.lookup(&element);
}

static __always_inline struct traffic *service_traffic(__u32 element)
{
	return service_counters.lookup(&element);
}

static __always_inline struct backend_in *backend_in_get(__u32 element)
{
	return backend_in.lookup(&element);
}

static __always_inline struct count *backend_out_get(__u32 element)
{
	return backend_out.lookup(&element);
}

static __always_inline struct count *reason_count(__u32 element)
{
	return reason_counters.lookup(&element);
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

static __always_inline __u32 *spare_get(__u32 element)
{
	return spare.lookup(&element);
}

static __always_inline struct pool *pool_get(__u32 zero)
{
	return pool.lookup(&zero);
}

static __always_inline struct sweep *sweep_get(__u32 zero)
{
	return sweep_state.lookup(&zero);
}

static __always_inline struct flow_count *flow_count_get(__u32 element)
{
	return flow_counts.lookup(&element);
}

static __always_inline struct capture_switch *capture_switch_get(void)
{
	return capture_switch.lookup(&(__u32){0});
}

static __always_inline struct capture *capture_get(__u32 element)
{
	return captures.lookup(&element);
}

static __always_inline struct capture_budget *capture_budget_get(__u32 element)
{
	return capture_budgets.lookup(&element);
}

static __always_inline struct capture_budget *recorder_budget_get(__u32 element)
{
	return recorder_budgets.lookup(&element);
}

static __always_inline struct captured *captured_get(void)
{
	return capturing.lookup(&(__u32){0});
}

static __always_inline struct probe *probe_get(struct probe_key *key)
{
	return probes.lookup(key);
}

/* Returns -EAGAIN when there is no room */
static __always_inline int captures_output(struct captured *record, __u32 bytes)
{
	return captured.ringbuf_output(record, bytes, 0);
}

/* Returns only when the program is missing */
static __always_inline void tail_call(struct xdp_md *ctx, int program)
{
	tails.call(ctx, program);
}

#include "clock.h"
#include "capture.h"
#include "vlan.h"
#include "finish.h"
#include "outcome.h"
#include "hash.h"
#include "checksum.h"
#include "message.h"
#include "extension.h"
#include "parse.h"
#include "index.h"
#include "source.h"
#include "keep.h"
#include "ring.h"
#include "mask.h"
#include "limit.h"
#include "lists.h"
#include "affinity.h"
#include "flow_index.h"
#include "flow.h"
#include "reach.h"
#include "fragment.h"
#include "options.h"
#include "tcp.h"
#include "next_hop.h"
#include "tags.h"
#include "nat.h"
#include "mss.h"
#include "claim.h"
#include "ports.h"
#include "new_flow.h"
#include "give_port.h"
#include "sweep.h"
#include "answer.h"
#include "error.h"
#include "unreachable.h"
#include "neighbour.h"
#include "entry.h"
#include "track.h"
#include "encap.h"
#include "direct.h"
#include "balance.h"
#include "probe.h"
#include "odd.h"
#include "later.h"
#include "quote.h"
#include "echo.h"
#include "direct_error.h"
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
	s->received_bytes = s->frame_bytes = ctx->data_end - ctx->data;
	s->known = s->tags = 0;
	capture_begin(ctx, s);
	return finish(ctx, s, road(ctx, s, c));
}

int icmp(struct xdp_md *ctx)
{
	TAIL(finish(ctx, s, forgotten(s, icmp_packet(ctx, s, c))));
}

int odd(struct xdp_md *ctx)
{
	TAIL(finish(ctx, s, forgotten(s, odd_packet(ctx, s, c))));
}

int later(struct xdp_md *ctx)
{
	TAIL(finish(ctx, s, later_packet(ctx, s, c)));
}

int nat_new(struct xdp_md *ctx)
{
	TAIL(finish(ctx, s, forgotten(s, remember_piece(s, c, new_flow(ctx, s, c)))));
}

int nat_port(struct xdp_md *ctx)
{
	TAIL(finish(ctx, s, forgotten(s, give_port(ctx, s, c))));
}

int tags(struct xdp_md *ctx)
{
	TAIL(leave(ctx, s, with_tags(ctx, s, c)));
}

int answer(struct xdp_md *ctx)
{
	TAIL(finish(ctx, s, answered(ctx, s, c)));
}

int capture(struct xdp_md *ctx)
{
	TAIL(capture_end(ctx, s, c));
}

/* Attached nowhere: the agent runs it */
int sweep(struct xdp_md *ctx)
{
	(void)ctx;
	TAIL(sweep_step(s, c));
}

/* Attached to the agent's own veth pair */
int probe(struct xdp_md *ctx)
{
	TAIL(probe_packet(ctx, s, c));
}
