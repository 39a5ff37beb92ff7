/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for what BCC adds to the datapath's sources: map declarations with their methods, helpers, the kernel's constants. A map needs
 * nothing but its declaration in l4lb.c; its size comes from the agent's specification. A helper that is new to the datapath needs a line. */
#ifndef L4LB_FUZZ_SHIMS_H
#define L4LB_FUZZ_SHIMS_H

#define xdp_md kernel_xdp_md
#include <linux/bpf.h>
#undef xdp_md

#include "native.h"

/* Functions of their own compile in seconds, inlined ones in minutes */
#undef __always_inline
#define __always_inline __attribute__((noinline, unused))

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#define NATIVE_MAP(type_, key_, value_, name_, entries_)                                                                            \
	static struct native_map name_##_map = {                                                                                    \
		.name = #name_, .type = type_, .key_bytes = sizeof(key_), .value_bytes = sizeof(value_), .entries = entries_};      \
	static value_ *name_##_lookup(const key_ *key) { return native_lookup(&name_##_map, key); }                                 \
	static int name_##_insert(const key_ *key, const value_ *value)                                                             \
	{                                                                                                                           \
		return native_write(&name_##_map, key, value, NATIVE_INSERT);                                                       \
	}                                                                                                                           \
	static int name_##_update(const key_ *key, const value_ *value)                                                             \
	{                                                                                                                           \
		return native_write(&name_##_map, key, value, NATIVE_UPDATE);                                                       \
	}                                                                                                                           \
	static int name_##_delete(const key_ *key) { return native_delete(&name_##_map, key); }                                     \
	__attribute__((constructor)) static void name_##_register(void) { native_register(&name_##_map); }                          \
	static const struct {                                                                                                       \
		value_ *(*lookup)(const key_ *key);                                                                                 \
		int (*insert)(const key_ *key, const value_ *value);                                                                \
		int (*update)(const key_ *key, const value_ *value);                                                                \
		int (*delete)(const key_ *key);                                                                                     \
	} name_ = {name_##_lookup, name_##_insert, name_##_update, name_##_delete}

#define NATIVE_TYPE(text)                                                                                     \
	(__builtin_strcmp(text, "hash") == 0 || __builtin_strcmp(text, "lru_hash") == 0 ? NATIVE_HASH         \
	 : __builtin_strcmp(text, "lpm_trie") == 0                                    ? NATIVE_PREFIXES       \
										      : NATIVE_ARRAY)
#define BPF_TABLE(type, key, value, name, entries) NATIVE_MAP(NATIVE_TYPE(type), key, value, name, entries)
#define BPF_F_TABLE(type, key, value, name, entries, flags) NATIVE_MAP(NATIVE_TYPE(type), key, value, name, entries)
#define BPF_ARRAY(name, value, entries) NATIVE_MAP(NATIVE_ARRAY, __u32, value, name, entries)
#define BPF_PERCPU_ARRAY(name, value, entries) NATIVE_MAP(NATIVE_ARRAY, __u32, value, name, entries)
#define BPF_HASH(name, key, value, entries) NATIVE_MAP(NATIVE_HASH, key, value, name, entries)
#define BPF_LPM_TRIE(name, key, value, entries) NATIVE_MAP(NATIVE_PREFIXES, key, value, name, entries)
#define BPF_PROG_ARRAY(name, entries)                                   \
	static const struct {                                           \
		void (*call)(struct xdp_md *ctx, __u32 slot);           \
	} name = {native_tail_call}

#define BPF_RINGBUF_OUTPUT(name, pages)                                                         \
	static const struct {                                                                   \
		int (*ringbuf_output)(const void *record, uint64_t bytes, uint64_t flags);      \
	} name = {native_ring_output}

#define bpf_xdp_adjust_head native_adjust_head
#define bpf_xdp_adjust_tail native_adjust_tail
#define bpf_csum_diff native_csum_diff
#define bpf_jiffies64 native_jiffies
#define bpf_ktime_get_ns native_nanoseconds
#define bpf_get_prandom_u32 native_random
#define bpf_get_smp_processor_id() 0
#define bpf_redirect(ifindex, flags) ((void)(ifindex), XDP_REDIRECT)
/* The datapath's own way to helpers that BCC does not declare */
#define BPF_FUNC_xdp_load_bytes native_load_bytes
#define BPF_FUNC_xdp_store_bytes native_store_bytes

/* Every other client has a route, with an MTU. The others' neighbours are missing */
static long bpf_fib_lookup(struct xdp_md *ctx, struct bpf_fib_lookup *route, int bytes, __u32 flags)
{
	const __u8 *last = (__u8 *)(route->family == 2 ? &route->ipv4_dst : &route->ipv6_dst[3]) + 3;

	(void)ctx, (void)bytes, (void)flags;
	if (!(*last & 1) && route->tot_len > 1400) {
		route->mtu_result = 1400;
		return BPF_FIB_LKUP_RET_FRAG_NEEDED;
	}
	route->ifindex = 2;
	if (!(*last & 1))
		return BPF_FIB_LKUP_RET_NO_NEIGH;
	route->mtu_result = 1400;
	__builtin_memset(route->smac, 0x0a, sizeof(route->smac));
	__builtin_memset(route->dmac, 0x0c, sizeof(route->dmac));
	return BPF_FIB_LKUP_RET_SUCCESS;
}

static long bpf_check_mtu(struct xdp_md *ctx, __u32 ifindex, __u32 *mtu, __s32 more, __u64 flags)
{
	(void)ctx, (void)ifindex, (void)more, (void)flags;
	*mtu = 1500;
	return BPF_MTU_CHK_RET_SUCCESS;
}

#endif
