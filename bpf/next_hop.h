/* SPDX-License-Identifier: Apache-2.0 */
/* The way out: towards clients by the kernel's routes and neighbours, and how a frame is sent. (Towards backends the agent has looked up
 * the way: it stands in the backend's element.) */
#ifndef L4LB_NEXT_HOP_H
#define L4LB_NEXT_HOP_H

#define FAMILY_IPV4 2
#define FAMILY_IPV6 10
#define ROUTE_FOUND 0
#define ROUTE_NO_NEIGHBOUR 7
#define ROUTE_TOO_LONG 8

/* Asks the kernel for the way of a packet `to` the client that is `bytes` long; 0 = however long: generic mode's super-packets are not to
 * be refused here, the packet's own length is checked against f->mtu. The answer is in s->route */
static __always_inline long route_asked(struct xdp_md *ctx, struct scratch *s, const struct tuple *to, __u16 bytes)
{
	struct bpf_fib_lookup *route = &s->route;

	__builtin_memset(route, 0, sizeof(*route));
	route->ifindex = ctx->ingress_ifindex;
	route->tot_len = bytes;
	route->l4_protocol = s->tuple.protocol;
	route->sport = to->source_port;
	route->dport = to->destination_port;
	if (s->family == 4) {
		route->family = FAMILY_IPV4;
		route->ipv4_src = to->source.word[3];
		route->ipv4_dst = to->destination.word[3];
	} else {
		route->family = FAMILY_IPV6;
		copy_address((struct address *)route->ipv6_src, &to->source);
		copy_address((struct address *)route->ipv6_dst, &to->destination);
	}
	return bpf_fib_lookup(ctx, route, sizeof(*route), 0);
}

/* The MTU of the flow's way, of which the kernel has just told no next hop: that of its route when only the neighbour is missing and the
 * way is the route's, else the interface's; 0 = everything fits. The kernel tells a route's MTU before it looks for the neighbour, but only
 * when the packet is too long. */
static __always_inline void learn_mtu(struct xdp_md *ctx, struct scratch *s, const struct config *c, struct flow *f,
				      const struct tuple *to, long said)
{
	__u32 ifindex = f->ifindex & OUT_INTERFACE, vlan = f->ifindex >> OUT_VLAN_SHIFT;
	bool routed = said == ROUTE_NO_NEIGHBOUR && out_over(s, c, s->route.ifindex) == f->ifindex;
	const struct vlan *v;

	s->way_mtu = 0;
	if (routed && route_asked(ctx, s, to, 0xffff) == ROUTE_TOO_LONG) {
		s->way_mtu = s->route.tot_len; /* in and out share the field */
	} else {
		v = vlan ? vlan_find(s, ifindex, vlan) : NULL;
		bpf_check_mtu(ctx, v ? v->other : ifindex, &s->way_mtu, 0, 0);
	}
	asm volatile("" ::: "memory");
	f->mtu = s->way_mtu > 0xffff ? 0 : s->way_mtu;
}

/* Sets the next hop in `f` as the kernel says; ROUTE_FOUND, or why it says none */
static __always_inline long route_to_client(struct xdp_md *ctx, struct scratch *s, const struct config *c, struct flow *f,
					    const struct tuple *to)
{
	const struct bpf_fib_lookup *route = &s->route;
	long said = route_asked(ctx, s, to, 0);

	if (said != ROUTE_FOUND)
		return said;
	f->ifindex = out_over(s, c, route->ifindex);
	f->mtu = route->tot_len;
	copy_mac(f->source_mac, route->smac);
	copy_mac(f->destination_mac, route->dmac);
	return said;
}

/* Lowers the MTU of a way to what its interface carries beside two tags */
static __always_inline void leave_room(struct scratch *s, struct flow *f)
{
	if (f->ifindex >> OUT_VLAN_SHIFT == OUT_DEVICE) {
		const struct vlan *v = vlan_find(s, f->ifindex & OUT_INTERFACE, VLAN_DEVICE);

		if (v && v->mtu && (!f->mtu || f->mtu > v->mtu))
			f->mtu = v->mtu;
	}
	asm volatile("" ::: "memory");
}

/* The way back for a new flow: the kernel's, or else the way that the client's packet came, until the first reply asks again */
static __always_inline void first_way_back(struct xdp_md *ctx, struct scratch *s, const struct config *c, struct flow *f)
{
	const struct ethernet *frame = bytes_at(ctx, 0, sizeof(*frame));

	reverse(&s->old, &s->tuple);
	f->route_generation = c->route_generation;
	if (route_to_client(ctx, s, c, f, &s->old) == ROUTE_FOUND)
		return leave_room(s, f);
	if (!frame)
		return;
	f->route_generation--;
	f->ifindex = out_back(ctx, s);
	f->mtu = 0;
	copy_mac(f->source_mac, frame->destination);
	copy_mac(f->destination_mac, frame->source);
}

/* Before a reply: looks again when routes or neighbours may have changed; the next hop that is there stays when none is found */
static __always_inline void renew_way_back(struct xdp_md *ctx, struct scratch *s, const struct config *c, struct flow *f)
{
	long said;

	if (f->route_generation == (__u16)c->route_generation)
		return;
	f->route_generation = c->route_generation;
	said = route_to_client(ctx, s, c, f, &s->becomes);
	if (said != ROUTE_FOUND)
		learn_mtu(ctx, s, c, f, &s->becomes, said);
	leave_room(s, f);
}

static __always_inline __u32 out_to(const struct backend *b)
{
	return OUT(b->ifindex, b->vlan);
}

/* Out by an interface: by XDP_TX where the frame came from, or by redirect where configured; otherwise by redirect */
static __always_inline __u32 send_over(struct xdp_md *ctx, const struct config *c, __u32 ifindex)
{
	if (ifindex == ctx->ingress_ifindex && !(c->flags & CONFIG_TRANSMIT_REDIRECT))
		return XDP_TX;
	return bpf_redirect(ifindex, 0);
}

/* Out by OUT() */
static __always_inline __u32 transmit(struct xdp_md *ctx, struct scratch *s, const struct config *c, __u32 out)
{
	__u32 ifindex = out & OUT_INTERFACE, vlan = out >> OUT_VLAN_SHIFT;

	s->tag_out = !vlan ? 0 : vlan == OUT_DEVICE ? TAG_DEVICE | ifindex : TAG_PRESENT | vlan;
	return send_over(ctx, c, ifindex);
}

/* An answer: with the very tags of what it answers */
static __always_inline __u32 send_back(struct xdp_md *ctx, struct scratch *s, const struct config *c)
{
	__u32 verdict = transmit(ctx, s, c, OUT(ctx->ingress_ifindex, 0));

	s->tag_out = s->tag_in;
	return verdict;
}

#endif
