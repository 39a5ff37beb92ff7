/* SPDX-License-Identifier: Apache-2.0 */
/* Probes of the VIP (health checks with `target: VIP`): what a socket of the agent sends to a VIP comes by a veth pair of the agent's own,
 * and leaves for exactly one backend as the service's mode says, whatever its ring says. Attached to that pair alone. */
#ifndef L4LB_PROBE_H
#define L4LB_PROBE_H

/* Sends a probe's packet to its backend */
static __always_inline __u32 probe_deliver(struct xdp_md *ctx, struct scratch *s, const struct config *c, const struct probe *p)
{
	const struct backend *b = backend_get(p->backend);
	const struct service *service = service_get(p->service);
	__u32 why;
	__u16 mtu;

	if (!b || !service || b->service != p->service)
		return DROP(REASON_NO_BACKEND);
	s->service = p->service;
	s->word = *(volatile const __u64 *)&service->word;
	if (service_mode(s->word) <= MODE_KEEP)
		return DROP(REASON_NO_SERVICE);
	why = b->flags & BACKEND_HERE ? REASON_LOCAL : no_way(s, b, &mtu);
	if (why)
		return DROP(why);
	if (!(service_mode(s->word) == MODE_DSR ? rewrite_macs(ctx, s, b)
						 : encapsulate(ctx, s, c, b, tuple_hash(&s->tuple, c->slot_secret))))
		return DROP(REASON_NO_HEADROOM);
	s->outcome = OUTCOME(REASON_TO_BACKEND, transmit(ctx, s, c, out_to(b)));
	return s->tag_out ? with_tags(ctx, s, c) : s->outcome;
}

/* Returns the verdict. What is no probe's packet, such as the kernel's own on that device, is nobody's. */
static __always_inline int probe_packet(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	struct probe_key key = {};
	struct probe *p;

	s->received_bytes = s->frame_bytes = ctx->data_end - ctx->data;
	s->known = s->tags = 0;
	s->inner_in = 0;
	if (classify(ctx, s) != FRAME_PACKET || read_packet(ctx, s))
		return XDP_DROP;
	key.port = s->tuple.source_port;
	key.protocol = s->tuple.protocol;
	key.family = s->family;
	p = probe_get(&key);
	if (!p)
		return XDP_DROP;
	p->outcome = probe_deliver(ctx, s, c, p);
	p->packets++;
	return p->outcome & (VERDICTS - 1);
}

#endif
