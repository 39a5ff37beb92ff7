/* SPDX-License-Identifier: Apache-2.0 */
/* The maps. Their sizes are the agent's (model/mapspec.py); here each has one element, since BCC creates what it compiles. */
#ifndef L4LB_MAPS_H
#define L4LB_MAPS_H

/* BCC generates a printer for each slot of a ring unless a ring is bytes to it: four seconds of compilation */
#define RING_BYTES(slots) struct ring_bytes_##slots { __u8 bytes[sizeof(struct ring_##slots)]; }
RING_BYTES(1021); RING_BYTES(4093); RING_BYTES(16381); RING_BYTES(65537);

BPF_ARRAY(config, struct config, 1);
BPF_ARRAY(snat, struct address, 1);
BPF_ARRAY(index, struct bucket, 1);
BPF_ARRAY(kept, struct bucket, 1);
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
BPF_ARRAY(flows, struct flow, 1);
BPF_ARRAY(flows_v6, struct flow_v6, 1);
BPF_ARRAY(flow_index, struct bucket, 1);
BPF_ARRAY(unanswered, struct unanswered, 1);
BPF_ARRAY(spare, __u32, 1);
BPF_ARRAY(pool, struct pool, 1);
BPF_ARRAY(sweep_state, struct sweep, 1);
BPF_ARRAY(flow_counts, struct flow_count, 1);
BPF_ARRAY(port_full, __u32, 1);
BPF_ARRAY(interfaces, struct interface, 1);
BPF_ARRAY(vlans, struct vlan, 1);
BPF_ARRAY(flow_table, struct flow_bucket, 1);
BPF_ARRAY(fragments, struct fragment_bucket, 1);
BPF_ARRAY(affinity, struct affinity_bucket, 1);
BPF_ARRAY(service_limits, struct limit_line, 1);
BPF_ARRAY(source_limits, struct limit_line, 1);
BPF_PERCPU_ARRAY(service_counters, struct traffic, 1);
BPF_PERCPU_ARRAY(backend_in, struct backend_in, 1);
BPF_PERCPU_ARRAY(backend_out, struct count, 1);
BPF_PERCPU_ARRAY(reason_counters, struct count, 1);
BPF_PERCPU_ARRAY(budgets, struct budget, 1);
BPF_ARRAY(capture_switch, struct capture_switch, 1);
BPF_ARRAY(captures, struct capture, 1);
BPF_PERCPU_ARRAY(capture_budgets, struct capture_budget, 1);
BPF_PERCPU_ARRAY(recorder_budgets, struct capture_budget, 1);
BPF_RINGBUF_OUTPUT(captured, 1);
/* Of the program for probes, made with it */
BPF_HASH(probes, struct probe_key, struct probe, 1);
/* These three belong to one generation of the programs */
BPF_PERCPU_ARRAY(scratch, struct scratch, 1);
BPF_PERCPU_ARRAY(capturing, struct captured, 1);
BPF_PROG_ARRAY(tails, TAILS);

#endif
