/* SPDX-License-Identifier: Apache-2.0 */
/* Runs mutated frames through the loaded program by BPF_PROG_TEST_RUN: kernel PROGRAM_FD IFINDEX FRAMES SEED WORLD. Ends with 1 at the first
 * packet that judge() has something against. Prints one line: packets by verdict. */
#include <errno.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "judge.h"
#include "mutate.h"

#define PROLOGUE_EVERY 4096 /* flows that mutated packets have ended begin again */
#define OUT_BYTES 4096

struct run {
	struct world world;
	int program;
	uint32_t ifindex;
	uint64_t number;
	uint64_t verdicts[VERDICTS];
};

static void test_run(struct run *r, struct passage *x, uint8_t *out)
{
	struct xdp_md context = {.data_end = x->in_bytes, .ingress_ifindex = r->ifindex};
	union bpf_attr attributes;

	memset(&attributes, 0, sizeof(attributes));
	attributes.test.prog_fd = r->program;
	attributes.test.data_in = (uintptr_t)x->in;
	attributes.test.data_size_in = x->in_bytes;
	attributes.test.data_out = (uintptr_t)out;
	attributes.test.data_size_out = OUT_BYTES;
	attributes.test.ctx_in = (uintptr_t)&context;
	attributes.test.ctx_size_in = sizeof(context);
	if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attributes, sizeof(attributes))) {
		fprintf(stderr, "frame %lu of %zu bytes: %s\n", (unsigned long)r->number, x->in_bytes, strerror(errno));
		exit(2);
	}
	x->verdict = attributes.test.retval;
	x->out = out;
	x->out_bytes = attributes.test.data_size_out;
}

static bool run_one(struct run *r, const uint8_t *bytes, size_t length)
{
	struct passage x = {.in = bytes, .in_bytes = length};
	static uint8_t out[OUT_BYTES];
	const char *problem;

	test_run(r, &x, out);
	problem = judge(&r->world, &x);
	r->number++;
	if (x.verdict < VERDICTS)
		r->verdicts[x.verdict]++;
	if (!problem)
		return true;
	fprintf(stderr, "frame %lu: ", (unsigned long)r->number);
	print_passage(problem, &x);
	return false;
}

int main(int argc, char **argv)
{
	static struct draft draft;
	static struct run r;
	uint64_t frames, state;

	if (argc != 6) {
		fprintf(stderr, "usage: kernel PROGRAM_FD IFINDEX FRAMES SEED WORLD\n");
		return 2;
	}
	r.program = atoi(argv[1]);
	r.ifindex = atoi(argv[2]);
	frames = strtoull(argv[3], NULL, 0);
	state = strtoull(argv[4], NULL, 0);
	world_read(&r.world, argv[5]);
	for (uint64_t i = 0; r.number < frames; i++) {
		const struct frame *next = &r.world.prologue.frame[i % PROLOGUE_EVERY];

		if (i % PROLOGUE_EVERY < r.world.prologue.count) {
			if (!run_one(&r, next->bytes, next->length))
				return 1;
			continue;
		}
		take_seed(&state, &r.world, &draft);
		mutate(&state, &r.world, &draft);
		if (!run_one(&r, draft.bytes, draft.length))
			return 1;
	}
	for (int i = 0; i < VERDICTS; i++)
		printf("%lu ", (unsigned long)r.verdicts[i]);
	printf("\n");
	return 0;
}
