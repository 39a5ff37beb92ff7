/* SPDX-License-Identifier: Apache-2.0 */
/* The two halves of a NAT flow: their keys, how each finds the other, and when both are over. */
#ifndef L4LB_FLOW_H
#define L4LB_FLOW_H

/* Seconds without packets after which a half is over */
static __always_inline __u32 flow_timeout(const struct config *c, __u8 state, __u8 flags, __u16 service_id)
{
	struct service *service;

	if (state == FLOW_CLOSED)
		return flags & FLOW_BACKEND_FIN_FIRST ? c->quarantine_long : c->quarantine_short;
	if (state != FLOW_ESTABLISHED && state != FLOW_UDP_ANSWERED)
		return state < sizeof(c->timeout) / sizeof(c->timeout[0]) ? c->timeout[state] : 0;
	service = service_get(service_id);
	return service ? service->idle_seconds : 0;
}

/* Signed: another CPU may have stamped a later second */
static __always_inline bool aged(__u32 now, __u32 seen, __u32 timeout)
{
	return (__s32)(now - seen) > (__s32)timeout;
}

static __always_inline bool flow_aged(const struct scratch *s, const struct config *c, const struct flow *f)
{
	return aged(s->now, f->seen, flow_timeout(c, f->state, f->flags, f->service));
}

static __always_inline bool reply_aged(const struct scratch *s, const struct config *c, const struct reply *r)
{
	return aged(s->now, r->seen, flow_timeout(c, r->state, r->flags, r->service));
}

/* The port at the backend, network order, of a flow to `vip_port`: a range of ports keeps it, unless the backend names one */
static __always_inline __u16 port_at(const struct backend *backend, __u16 vip_port)
{
	return backend->port ? backend->port : vip_port;
}

/* The reply half of `f`, whose key is the packet's tuple; NULL when it is gone or belongs to another flow by now */
static __always_inline struct reply *reply_of(struct scratch *s, const struct flow *f)
{
	const struct backend *backend = backend_get(f->backend);
	struct reply_key *key = &s->reply_key;
	struct reply *r;

	if (!backend)
		return NULL;
	copy_address(&key->backend, &backend->address);
	copy_address(&key->snat, &f->snat);
	key->backend_port = port_at(backend, s->tuple.destination_port);
	key->snat_port = f->snat_port;
	key->protocol = s->tuple.protocol;
	r = reply_get(key);
	if (!r || r->client_port != s->tuple.source_port || r->vip_port != s->tuple.destination_port ||
	    !same_address(&r->client, &s->tuple.source) || !same_address(&r->vip, &s->tuple.destination))
		return NULL;
	return r;
}

/* The forward half of `r`, whose key is the packet's tuple; NULL when it is gone or leads elsewhere by now */
static __always_inline struct flow *flow_of(struct scratch *s, const struct reply *r)
{
	struct flow_key *key = &s->flow_key;
	struct flow *f;

	copy_address(&key->client, &r->client);
	copy_address(&key->vip, &r->vip);
	key->client_port = r->client_port;
	key->vip_port = r->vip_port;
	key->protocol = s->tuple.protocol;
	f = flow_get(key);
	if (!f || f->backend != r->backend || f->snat_port != s->tuple.destination_port ||
	    !same_address(&f->snat, &s->tuple.destination))
		return NULL;
	return f;
}

/* The two halves live and die together: one is over when both are (the other is looked at only when this one seems over) */
static __always_inline bool flow_expired(struct scratch *s, const struct config *c, const struct flow *f)
{
	const struct reply *r;

	if (!flow_aged(s, c, f))
		return false;
	r = reply_of(s, f);
	return !r || reply_aged(s, c, r);
}

static __always_inline bool reply_expired(struct scratch *s, const struct config *c, const struct reply *r)
{
	const struct flow *f;

	if (!reply_aged(s, c, r))
		return false;
	f = flow_of(s, r);
	return !f || flow_aged(s, c, f);
}

/* The flow of a client's packet, or NULL */
static __always_inline struct flow *flow_find(struct scratch *s, const struct config *c)
{
	struct flow *f = flow_get(&s->tuple.flow);

	return f && !flow_expired(s, c, f) ? f : NULL;
}

/* The flow of a backend's packet, or NULL */
static __always_inline struct reply *reply_find(struct scratch *s, const struct config *c)
{
	struct reply *r = reply_get(&s->tuple.reply);

	return r && !reply_expired(s, c, r) ? r : NULL;
}

/* Both halves end by RST; the port stays taken for the short quarantine */
static __always_inline void flow_reset(struct flow *f, struct reply *r)
{
	if (f) {
		f->state = FLOW_CLOSED;
		f->flags |= FLOW_RESET;
	}
	if (r) {
		r->state = FLOW_CLOSED;
		r->flags |= FLOW_RESET;
	}
}

#endif
