/* SPDX-License-Identifier: Apache-2.0 */
/* What the datapath's sources, compiled natively, see of a kernel (shims.h), and what native.c makes of it. */
#ifndef L4LB_FUZZ_NATIVE_H
#define L4LB_FUZZ_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NATIVE_WORLDS 16
#define NATIVE_PROGRAMS 16

/* In the place of the kernel's, whose addresses have 32 bits */
struct xdp_md {
	unsigned long data;
	unsigned long data_end;
	unsigned long data_meta;
	uint32_t ingress_ifindex;
	uint32_t rx_queue_index;
	uint32_t egress_ifindex;
};

enum native_type {
	NATIVE_ARRAY,
	NATIVE_HASH,
	NATIVE_PREFIXES, /* longest match */
};

struct store;

/* One declaration in l4lb.c */
struct native_map {
	const char *name;
	enum native_type type;
	uint32_t key_bytes;
	uint32_t value_bytes;
	uint32_t entries; /* where the agent says nothing else */
	struct store *store[NATIVE_WORLDS];
	struct native_map *next;
};

enum native_write {
	NATIVE_INSERT, /* only where there is none */
	NATIVE_UPDATE,
};

extern int (*const native_programs[NATIVE_PROGRAMS])(struct xdp_md *); /* by slot of `tails` */
int xdp_l4lb(struct xdp_md *ctx);

void native_register(struct native_map *map);
void *native_lookup(struct native_map *map, const void *key);
int native_write(struct native_map *map, const void *key, const void *value, enum native_write how);
int native_delete(struct native_map *map, const void *key);
void native_tail_call(struct xdp_md *ctx, uint32_t slot);

long native_adjust_head(struct xdp_md *ctx, int delta);
long native_adjust_tail(struct xdp_md *ctx, int delta);
long native_load_bytes(struct xdp_md *ctx, uint32_t offset, void *to, uint32_t bytes);
long native_store_bytes(struct xdp_md *ctx, uint32_t offset, const void *from, uint32_t bytes);
long native_csum_diff(const void *from, uint32_t from_bytes, const void *to, uint32_t to_bytes, uint32_t seed);
int native_ring_output(const void *record, uint64_t bytes, uint64_t flags);
uint64_t native_jiffies(void);
uint64_t native_nanoseconds(void);
uint32_t native_random(void);

#endif
