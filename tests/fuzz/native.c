/* SPDX-License-Identifier: Apache-2.0 */
/* The datapath under libFuzzer. An input is a world's number and then frames, each after two bytes: its length and how long to wait before
 * it. Each is put at the end of a heap block of exactly its size, judged like those in the kernel (judge.h), counted once, and sent a second
 * time in a run where neither the scratch nor new room in the frame hold what they held in the first: nothing may come out differently.
 * L4LB_FUZZ_WORLDS names the files of the worlds, separated by colons. */
#include <setjmp.h>

#include "judge.h"
#include "mutate.h"
#include "native.h"

#define MOST_FRAMES 12
#define LENGTH_MASK 0xfff /* of the two bytes; the upper bits say how long to wait: 0, 1, 2, 4 ... seconds */
#define HEADROOM 256
#define TAILROOM 320
#define CHECKED_BYTES 4096 /* larger elements of the agent's maps, rings, are not compared */

struct element {
	uint8_t *key; /* not of an array */
	uint8_t *value;
	uint8_t *before; /* as it was when the run began */
	bool used;
	bool used_before;
	bool touched;
};

struct store {
	struct native_map *map;
	uint32_t entries;
	bool control; /* the agent's alone */
	struct element *element;
};

struct touched {
	struct store *store;
	struct element *element;
};

struct input {
	uint8_t world;
	uint32_t count;
	struct {
		uint8_t wait;
		uint16_t length;
		const uint8_t *bytes;
	} frame[MOST_FRAMES];
};

/* What became of one frame */
struct outcome {
	uint32_t verdict;
	size_t bytes;
	uint64_t digest;
};

static struct native_map *maps;
static struct world worlds[NATIVE_WORLDS];
static uint32_t world_count, current;
static struct touched *touched;
static size_t touched_count, touched_room;
static uint64_t jiffies;
static uint8_t fill; /* what new room in a frame holds */
static uint32_t room_before, room_behind;
static jmp_buf tail_ended;
static int tail_verdict;

/* --- maps */

void native_register(struct native_map *map)
{
	map->next = maps;
	maps = map;
}

static void *allocated(size_t bytes)
{
	void *block = calloc(1, bytes ? bytes : 1);

	if (!block)
		abort();
	return block;
}

static void touch(struct store *s, struct element *e)
{
	if (e->touched || (s->control && s->map->value_bytes > CHECKED_BYTES))
		return;
	if (!e->before)
		e->before = allocated(s->map->value_bytes);
	memcpy(e->before, e->value, s->map->value_bytes);
	e->used_before = e->used;
	e->touched = true;
	if (touched_count == touched_room) {
		touched_room = touched_room ? 2 * touched_room : 256;
		touched = realloc(touched, touched_room * sizeof(*touched));
	}
	touched[touched_count++] = (struct touched){s, e};
}

static void fill_element(struct store *s, struct element *e)
{
	if (!e->value)
		e->value = allocated(s->map->value_bytes);
	if (!e->key && s->map->type != NATIVE_ARRAY)
		e->key = allocated(s->map->key_bytes);
}

/* Every map is as it was before the run */
static void undo(void)
{
	while (touched_count) {
		struct touched *t = &touched[--touched_count];
		size_t bytes = t->store->map->value_bytes;

		if (t->store->control && memcmp(t->element->value, t->element->before, bytes)) {
			fprintf(stderr, "the datapath has written to %s, which is the agent's\n", t->store->map->name);
			abort();
		}
		memcpy(t->element->value, t->element->before, bytes);
		t->element->used = t->element->used_before;
		t->element->touched = false;
	}
}

static bool prefix_matches(const uint8_t *prefix, const uint8_t *key)
{
	uint32_t bits;

	memcpy(&bits, prefix, sizeof(bits));
	if (memcmp(prefix + 4, key + 4, bits / 8))
		return false;
	return bits % 8 == 0 || !((prefix[4 + bits / 8] ^ key[4 + bits / 8]) >> (8 - bits % 8));
}

static struct element *find(struct store *s, const void *key)
{
	struct element *best = NULL;
	uint32_t number;

	if (s->map->type == NATIVE_ARRAY) {
		memcpy(&number, key, sizeof(number));
		if (number >= s->entries)
			return NULL;
		fill_element(s, &s->element[number]);
		return &s->element[number];
	}
	for (uint32_t i = 0; i < s->entries; i++) {
		struct element *e = &s->element[i];

		if (!e->used)
			continue;
		if (s->map->type == NATIVE_HASH) {
			if (!memcmp(e->key, key, s->map->key_bytes))
				return e;
		} else if (prefix_matches(e->key, key) && (!best || memcmp(e->key, best->key, 4) > 0)) {
			best = e;
		}
	}
	return best;
}

static struct element *find_unused(struct store *s)
{
	for (uint32_t i = 0; i < s->entries; i++) {
		/* One that was there before the run keeps its key until that is over */
		if (!s->element[i].used && !(s->element[i].touched && s->element[i].used_before)) {
			fill_element(s, &s->element[i]);
			return &s->element[i];
		}
	}
	return NULL;
}

void *native_lookup(struct native_map *map, const void *key)
{
	struct store *s = map->store[current];
	struct element *e = find(s, key);

	if (!e)
		return NULL;
	touch(s, e);
	return e->value;
}

int native_write(struct native_map *map, const void *key, const void *value, enum native_write how)
{
	struct store *s = map->store[current];
	struct element *e = find(s, key);

	if (e && how == NATIVE_INSERT)
		return -17; /* -EEXIST */
	if (!e) {
		e = s->map->type == NATIVE_ARRAY ? NULL : find_unused(s);
		if (!e)
			return -7; /* -E2BIG */
		touch(s, e);
		memcpy(e->key, key, map->key_bytes);
		e->used = true;
	}
	touch(s, e);
	memcpy(e->value, value, map->value_bytes);
	return 0;
}

int native_delete(struct native_map *map, const void *key)
{
	struct store *s = map->store[current];
	struct element *e = map->type == NATIVE_ARRAY ? NULL : find(s, key);

	if (!e)
		return -2; /* -ENOENT */
	touch(s, e);
	e->used = false;
	return 0;
}

static void set_up_map(struct native_map *map, const struct map_image *image)
{
	struct store *s = allocated(sizeof(*s));

	if (image && (image->key_bytes != map->key_bytes || image->value_bytes != map->value_bytes)) {
		fprintf(stderr, "%s: the agent and l4lb.c do not agree on its sizes\n", map->name);
		exit(2);
	}
	s->map = map;
	s->entries = image ? image->entries : map->entries;
	s->control = image && image->control;
	s->element = allocated(s->entries * sizeof(*s->element));
	map->store[current] = s;
	for (uint32_t i = 0; image && i < image->count; i++) {
		const uint8_t *pair = image->pairs + (size_t)i * (image->key_bytes + image->value_bytes);
		struct element *e = map->type == NATIVE_ARRAY ? find(s, pair) : find_unused(s);

		if (!e) {
			fprintf(stderr, "%s: has no room for what the world holds\n", map->name);
			exit(2);
		}
		if (e->key)
			memcpy(e->key, pair, image->key_bytes);
		memcpy(e->value, pair + image->key_bytes, image->value_bytes);
		e->used = true;
	}
}

static void set_up_world(const char *path)
{
	struct world *w = &worlds[current];

	world_read(w, path);
	for (struct native_map *map = maps; map; map = map->next) {
		const struct map_image *image = NULL;

		for (uint32_t i = 0; i < w->map_count; i++)
			if (!strcmp(w->map[i].name, map->name))
				image = &w->map[i];
		set_up_map(map, image);
	}
}

static struct native_map *map_named(const char *name)
{
	for (struct native_map *map = maps; map; map = map->next)
		if (!strcmp(map->name, name))
			return map;
	fprintf(stderr, "l4lb.c has no map %s\n", name);
	exit(2);
}

/* --- helpers */

uint64_t native_jiffies(void)
{
	return jiffies;
}

/* Every byte is read; now and then there is no room */
int native_ring_output(const void *record, uint64_t bytes, uint64_t flags)
{
	uint8_t *copy = malloc(bytes);
	int full;

	(void)flags;
	if (!copy)
		abort();
	memcpy(copy, record, bytes);
	full = copy[bytes - 1] == 0xff;
	free(copy);
	return full ? -11 : 0;
}

uint64_t native_nanoseconds(void)
{
	return jiffies / worlds[current].hertz * 1000000000;
}

uint32_t native_random(void)
{
	static uint64_t state;

	return draw(&state);
}

/* The frame in a block of another size; what was there goes, so that a pointer into it is caught */
static void resize(struct xdp_md *ctx, size_t keep_from, size_t put_at, size_t keep, size_t bytes)
{
	uint8_t *old = (uint8_t *)ctx->data, *new = malloc(bytes);

	if (!new)
		abort();
	memset(new, fill, bytes);
	memcpy(new + put_at, old + keep_from, keep);
	free(old);
	ctx->data = (unsigned long)new;
	ctx->data_end = ctx->data + bytes;
}

long native_adjust_head(struct xdp_md *ctx, int delta)
{
	size_t bytes = ctx->data_end - ctx->data;

	if (delta < 0 ? (uint32_t)-delta > room_before : (size_t)delta + 14 > bytes)
		return -22;
	room_before += delta;
	if (delta < 0)
		resize(ctx, 0, -delta, bytes, bytes - delta);
	else
		resize(ctx, delta, 0, bytes - delta, bytes - delta);
	return 0;
}

/* New bytes are zero in the kernel, too */
long native_adjust_tail(struct xdp_md *ctx, int delta)
{
	size_t bytes = ctx->data_end - ctx->data, after = bytes + delta;

	if (delta > 0 ? (uint32_t)delta > room_behind : (size_t)-(long)delta + 14 > bytes)
		return -22;
	room_behind -= delta;
	resize(ctx, 0, 0, delta < 0 ? after : bytes, after);
	if (delta > 0)
		memset((uint8_t *)ctx->data + bytes, 0, delta);
	return 0;
}

long native_load_bytes(struct xdp_md *ctx, uint32_t offset, void *to, uint32_t bytes)
{
	if ((uint64_t)offset + bytes > ctx->data_end - ctx->data)
		return -22;
	memcpy(to, (const uint8_t *)ctx->data + offset, bytes);
	return 0;
}

long native_store_bytes(struct xdp_md *ctx, uint32_t offset, const void *from, uint32_t bytes)
{
	if ((uint64_t)offset + bytes > ctx->data_end - ctx->data)
		return -22;
	memcpy((uint8_t *)ctx->data + offset, from, bytes);
	return 0;
}

static uint64_t sum_words(const uint8_t *bytes, uint32_t count, uint32_t flip)
{
	uint64_t sum = 0;
	uint32_t word;

	for (uint32_t i = 0; i < count; i += 4) {
		memcpy(&word, bytes + i, sizeof(word));
		sum += word ^ flip;
	}
	return sum;
}

long native_csum_diff(const void *from, uint32_t from_bytes, const void *to, uint32_t to_bytes, uint32_t seed)
{
	uint64_t sum = seed;

	if ((from_bytes | to_bytes) & 3 || from_bytes + to_bytes > 512)
		return -22;
	sum += sum_words(from, from_bytes, 0xffffffff) + sum_words(to, to_bytes, 0);
	while (sum >> 32)
		sum = (sum & 0xffffffff) + (sum >> 32);
	return sum;
}

void native_tail_call(struct xdp_md *ctx, uint32_t slot)
{
	if (slot >= NATIVE_PROGRAMS || !native_programs[slot])
		return;
	tail_verdict = native_programs[slot](ctx);
	longjmp(tail_ended, 1);
}

/* --- packets */

static uint64_t digest_of(const uint8_t *bytes, size_t count)
{
	uint64_t digest = 0xcbf29ce484222325; /* FNV-1a */

	for (size_t i = 0; i < count; i++)
		digest = (digest ^ bytes[i]) * 0x100000001b3;
	return digest;
}

static int run_program(struct xdp_md *ctx)
{
	if (setjmp(tail_ended))
		return tail_verdict;
	return xdp_l4lb(ctx);
}

static uint64_t counted(void)
{
	struct store *s = map_named("reason_counters")->store[current];
	uint64_t sum = 0, packets;

	for (uint32_t i = 0; i < s->entries; i++) {
		if (!s->element[i].touched)
			continue;
		memcpy(&packets, s->element[i].value, sizeof(packets));
		sum += packets;
	}
	return sum;
}

static struct outcome run_frame(const uint8_t *bytes, size_t length)
{
	uint8_t *copy = malloc(length ? length : 1);
	struct xdp_md ctx = {.ingress_ifindex = 1};
	struct outcome o;
	struct passage x;
	const char *problem = NULL;

	if (!copy)
		abort();
	memcpy(copy, bytes, length);
	ctx.data = ctx.data_meta = (unsigned long)copy;
	ctx.data_end = ctx.data + length;
	room_before = HEADROOM;
	room_behind = TAILROOM;
	o.verdict = run_program(&ctx);
	o.bytes = ctx.data_end - ctx.data;
	o.digest = digest_of((uint8_t *)ctx.data, o.bytes);
	x = (struct passage){bytes, length, o.verdict, (uint8_t *)ctx.data, o.bytes};
	if (length >= 14)
		problem = judge(&worlds[current], &x);
	else if (o.verdict != VERDICT_PASS)
		problem = "too short to be a frame, and not passed";
	if (problem) {
		print_passage(problem, &x);
		abort();
	}
	free((uint8_t *)ctx.data);
	return o;
}

static void wait_for(uint8_t code)
{
	jiffies += code ? (uint64_t)worlds[current].hertz << (code - 1) : 0;
}

/* One run over all frames, from the world's own beginning. `fresh`: each finds a scratch of zeros */
static void run_frames(const struct input *in, struct outcome *outcomes, bool fresh)
{
	struct store *scratch = map_named("scratch")->store[current];

	jiffies = worlds[current].jiffies;
	fill = fresh ? 0xa5 : 0;
	for (uint32_t i = 0; i < in->count; i++) {
		uint32_t zero = 0;
		uint64_t before = counted();

		wait_for(in->frame[i].wait);
		if (fresh)
			memset(native_lookup(scratch->map, &zero), 0, scratch->map->value_bytes);
		outcomes[i] = run_frame(in->frame[i].bytes, in->frame[i].length);
		if (counted() != before + 1) {
			fprintf(stderr, "frame %u was counted %ld times\n", i, (long)(counted() - before));
			abort();
		}
	}
	undo();
}

static void read_input(struct input *in, const uint8_t *data, size_t size)
{
	struct reader r = {data, data + size};

	memset(in, 0, sizeof(*in));
	if (size)
		in->world = *(const uint8_t *)take(&r, 1) % world_count;
	while (in->count < MOST_FRAMES && r.end - r.at >= 2) {
		uint16_t head = get16(take(&r, 2));
		size_t length = head & LENGTH_MASK;

		if (length > FRAME_BYTES)
			length = FRAME_BYTES;
		if (length > (size_t)(r.end - r.at))
			length = r.end - r.at;
		in->frame[in->count].wait = head >> 12;
		in->frame[in->count].length = length;
		in->frame[in->count++].bytes = take(&r, length);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *given = getenv("L4LB_FUZZ_WORLDS");
	char *paths = strdup(given ? given : "");

	(void)argc, (void)argv;
	for (char *path = strtok(paths, ":"); path && world_count < NATIVE_WORLDS; path = strtok(NULL, ":")) {
		current = world_count;
		set_up_world(path);
		world_count++;
	}
	free(paths);
	if (!world_count) {
		fprintf(stderr, "L4LB_FUZZ_WORLDS names no world\n");
		exit(2);
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome first[MOST_FRAMES], second[MOST_FRAMES];
	struct input in;

	read_input(&in, data, size);
	current = in.world;
	run_frames(&in, first, false);
	run_frames(&in, second, true);
	for (uint32_t i = 0; i < in.count; i++) {
		if (first[i].verdict != second[i].verdict || first[i].bytes != second[i].bytes || first[i].digest != second[i].digest) {
			fprintf(stderr, "frame %u comes out by what an earlier packet left: %u or %u, %zu or %zu bytes\n", i, first[i].verdict,
				second[i].verdict, first[i].bytes, second[i].bytes);
			abort();
		}
	}
	return 0;
}

/* --- mutations of inputs */

static size_t put_frame(uint8_t *data, size_t at, size_t most, uint8_t wait, const struct draft *d)
{
	if (at + 2 + d->length > most)
		return at;
	put16(data + at, wait << 12 | d->length);
	memcpy(data + at + 2, d->bytes, d->length);
	return at + 2 + d->length;
}

static void take_frame(struct draft *d, const struct input *in, uint32_t number)
{
	d->length = in->frame[number].length;
	memcpy(d->bytes, in->frame[number].bytes, d->length);
}

/* Another input: one of its frames is changed, left out or sent twice, or a new one comes */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed)
{
	static struct draft d;
	uint8_t *copy = allocated(size);
	uint64_t state = seed;
	uint32_t chosen, what = draw_below(&state, 12);
	struct world *w;
	struct input in;
	size_t at = 1;

	memcpy(copy, data, size);
	read_input(&in, copy, size);
	if (!draw_below(&state, 16))
		in.world = draw_below(&state, world_count);
	w = &worlds[in.world];
	data[0] = in.world;
	chosen = draw_below(&state, in.count);
	for (uint32_t i = 0; i < in.count; i++) {
		uint8_t wait = in.frame[i].wait;

		if (i == chosen && what == 0 && in.count > 1)
			continue;
		if (i == chosen && what == 1)
			wait = draw_below(&state, 8);
		take_frame(&d, &in, i);
		if (i == chosen && what == 2)
			at = put_frame(data, at, most, wait, &d);
		if (i == chosen && what >= 5 && d.length >= 14)
			mutate(&state, w, &d);
		at = put_frame(data, at, most, wait, &d);
	}
	if (!in.count || what == 3 || what == 4) {
		take_seed(&state, w, &d);
		mutate(&state, w, &d);
		at = put_frame(data, at, most, 0, &d);
	}
	free(copy);
	return at;
}
