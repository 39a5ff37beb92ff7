/* SPDX-License-Identifier: Apache-2.0 */
/* Who is let in: the lists of prefixes that a service names, looked up for every packet of it in both directions. Who is put on a deny list
 * is cut off at once, in the middle of flows too. */
#ifndef L4LB_LISTS_H
#define L4LB_LISTS_H

#define WHOLE_ADDRESS (32 + 128) /* bits of a key: of the list and of the address */

/* Length of the list's longest prefix that holds the address in the key, and one more; 0 when none does. List 0 holds nobody. */
static __always_inline __u32 list_match(struct scratch *s, __u32 list)
{
	const __u32 *found;

	if (!list)
		return 0;
	s->list_key.list = list << 1 | (s->family == 6);
	found = list_get(&s->list_key);
	return found ? *found : 0;
}

/* Why the service has nothing to do with this client, 0 when it has. An allow list lets in nobody else; between both the longer prefix
 * wins, and equal ones deny. */
static __always_inline __u32 listed(struct scratch *s, __u32 service, const struct address *client)
{
	const struct policy *p = policy_get(service);
	__u32 allowed, denied;
	__u64 lists;

	if (!p)
		return 0;
	lists = *(const volatile __u64 *)&p->allow_list; /* both at once */
	s->list_key.bits = WHOLE_ADDRESS;
	copy_address(&s->list_key.address, client);
	denied = list_match(s, lists >> 32);
	if (!(__u32)lists)
		return denied ? REASON_DENIED : 0;
	allowed = list_match(s, lists);
	if (!allowed)
		return REASON_NOT_ALLOWED;
	return denied >= allowed ? REASON_DENIED : 0;
}

/* The same through the scratch, where the verifier follows no values */
static __always_inline bool barred(struct scratch *s, __u32 service, const struct address *client)
{
	s->refused = listed(s, service, client);
	return s->refused;
}

#endif
