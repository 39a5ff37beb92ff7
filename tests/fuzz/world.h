/* SPDX-License-Identifier: Apache-2.0 */
/* What world.py writes and both fuzzers read: addresses, ports and frames to begin with, and every map. */
#ifndef L4LB_FUZZ_WORLD_H
#define L4LB_FUZZ_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORLD_MAGIC 0x646c7277
#define FRAME_BYTES 3072 /* at most, of a frame that is sent */
#define MAP_NAME 32

struct frame {
	uint16_t length;
	const uint8_t *bytes;
};

struct frames {
	uint32_t count;
	struct frame *frame;
};

struct addresses {
	uint32_t count;
	const uint8_t (*address)[16]; /* IPv4 as ::ffff:a.b.c.d */
};

struct map_image {
	char name[MAP_NAME];
	uint32_t key_bytes;
	uint32_t value_bytes;
	uint32_t entries;
	uint32_t control; /* written by the agent alone */
	uint32_t count;   /* pairs that follow */
	const uint8_t *pairs;
};

struct world {
	struct addresses owned; /* whatever is for another one passes */
	struct addresses kept;  /* unless it comes from one of these, or is ICMP and there are any: it may be a flow's */
	struct addresses known; /* worth writing into a packet */
	uint32_t port_count;
	const uint16_t *port;   /* the same, in network order */
	struct frames prologue; /* makes the flows, in this order */
	struct frames seed;     /* what frames are made of */
	uint32_t map_count;
	struct map_image *map;
	uint64_t jiffies; /* of the maps */
	uint32_t hertz;
};

struct reader {
	const uint8_t *at;
	const uint8_t *end;
};

static const void *take(struct reader *r, size_t bytes)
{
	const void *found = r->at;

	if ((size_t)(r->end - r->at) < bytes) {
		fprintf(stderr, "the world is cut short\n");
		exit(2);
	}
	r->at += bytes;
	return found;
}

static uint32_t take_number(struct reader *r)
{
	uint32_t number;

	memcpy(&number, take(r, sizeof(number)), sizeof(number));
	return number;
}

static void take_addresses(struct reader *r, struct addresses *a)
{
	a->count = take_number(r);
	a->address = take(r, 16 * (size_t)a->count);
}

static void take_frames(struct reader *r, struct frames *f)
{
	f->count = take_number(r);
	f->frame = calloc(f->count + 1, sizeof(*f->frame));
	for (uint32_t i = 0; i < f->count; i++) {
		f->frame[i].length = take_number(r);
		f->frame[i].bytes = take(r, f->frame[i].length);
	}
}

static void take_map(struct reader *r, struct map_image *m)
{
	memcpy(m->name, take(r, MAP_NAME), MAP_NAME);
	m->name[MAP_NAME - 1] = 0;
	m->key_bytes = take_number(r);
	m->value_bytes = take_number(r);
	m->entries = take_number(r);
	m->control = take_number(r);
	m->count = take_number(r);
	m->pairs = take(r, (size_t)m->count * (m->key_bytes + m->value_bytes));
}

static const uint8_t *read_whole(const char *path, size_t *bytes)
{
	FILE *file = fopen(path, "rb");
	uint8_t *whole;
	long size;

	if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0 || !(whole = malloc(size + 1))) {
		perror(path);
		exit(2);
	}
	rewind(file);
	*bytes = fread(whole, 1, size, file);
	fclose(file);
	return whole;
}

/* Ends the process when the file is not a world */
static void world_read(struct world *w, const char *path)
{
	struct reader r;
	size_t bytes;

	r.at = read_whole(path, &bytes);
	r.end = r.at + bytes;
	if (take_number(&r) != WORLD_MAGIC) {
		fprintf(stderr, "%s is no world\n", path);
		exit(2);
	}
	memcpy(&w->jiffies, take(&r, sizeof(w->jiffies)), sizeof(w->jiffies));
	w->hertz = take_number(&r);
	take_addresses(&r, &w->owned);
	take_addresses(&r, &w->kept);
	take_addresses(&r, &w->known);
	w->port_count = take_number(&r);
	w->port = take(&r, 2 * (size_t)w->port_count);
	take_frames(&r, &w->prologue);
	take_frames(&r, &w->seed);
	w->map_count = take_number(&r);
	w->map = calloc(w->map_count + 1, sizeof(*w->map));
	for (uint32_t i = 0; i < w->map_count; i++)
		take_map(&r, &w->map[i]);
}

#endif
