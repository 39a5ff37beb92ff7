/* SPDX-License-Identifier: Apache-2.0 */
/* Sends frames as fast as one CPU can until its standard input ends: flood INTERFACE SEED. There it reads frames first, up to an empty
 * line. A line is one frame: hexadecimal digits, then fields of it that are random each time, as OFFSET:BYTES:FROM: bytes FROM and after
 * of the frame's random ones. A frame that begins with `+` has those of the one before it, so that an ACK can follow its SYN. IPv4 header,
 * TCP, UDP and ICMP checksums are made right.
 *
 * A frame that begins with `?` is an ARP request, which is sent after each batch: the next one waits for its answer. So no queue on the way
 * there and back overflows, which others would lose packets by, however fast or slow the machine is.
 *
 * Prints how many frames were sent, how many milliseconds it took, and how many requests had no answer. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_FRAMES 4096
#define MOST_FIELDS 8
#define FRAME_BYTES 256
#define BATCH 64
#define PATIENCE_MS 100 /* for an answer */
#define RANDOM_BYTES 64
#define IP 14
#define ARP_BYTES 42
#define ARP_OPERATION 20
#define ARP_REPLY 2
#define ARP_SENDER 28 /* addresses */
#define ARP_TARGET 38

struct field {
	uint16_t offset, bytes, from;
};

struct frame {
	bool follows;
	size_t length;
	uint8_t bytes[FRAME_BYTES];
	int fields;
	struct field field[MOST_FIELDS];
};

static struct frame frames[MOST_FRAMES], question;
static int count;

/* splitmix64 (Steele et al. 2014) */
static uint64_t draw(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint16_t get16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static uint32_t sum(const uint8_t *p, size_t bytes)
{
	uint32_t total = 0;

	for (size_t i = 0; i + 1 < bytes; i += 2)
		total += get16(p + i);
	return bytes & 1 ? total + (p[bytes - 1] << 8) : total;
}

static void put_checksum(uint8_t *field, uint32_t total)
{
	uint16_t folded;

	total = (total & 0xffff) + (total >> 16);
	total = (total & 0xffff) + (total >> 16);
	folded = ~total;
	field[0] = folded >> 8;
	field[1] = folded;
}

/* Of a whole packet: a fragment has none of its own */
static void mend_transport(uint8_t *bytes, size_t transport, size_t end, uint8_t protocol, const uint8_t *addresses, size_t address_bytes)
{
	int offset = protocol == 6 ? 16 : protocol == 17 ? 6 : protocol == 1 || protocol == 58 ? 2 : -1;
	uint32_t pseudo = protocol == 1 ? 0 : sum(addresses, address_bytes) + protocol + (end - transport);

	if (offset < 0 || transport + offset + 2 > end)
		return;
	bytes[transport + offset] = bytes[transport + offset + 1] = 0;
	put_checksum(bytes + transport + offset, pseudo + sum(bytes + transport, end - transport));
}

static void mend(uint8_t *bytes, size_t length)
{
	uint8_t *ip = bytes + IP;

	if (get16(bytes + 12) == 0x86dd) {
		mend_transport(bytes, IP + 40, length, ip[6], ip + 8, 32);
		return;
	}
	ip[10] = ip[11] = 0;
	put_checksum(ip + 10, sum(ip, 20));
	if (!(get16(ip + 6) & 0x3fff))
		mend_transport(bytes, IP + 20, length, ip[9], ip + 12, 8);
}

static void read_frame(char *line)
{
	struct frame *f = *line == '?' ? &question : &frames[count++];
	char *part = strtok(line + (*line == '?'), " \n");
	unsigned int byte;

	f->follows = *part == '+';
	part += f->follows;
	for (f->length = 0; f->length < FRAME_BYTES && sscanf(part + 2 * f->length, "%2x", &byte) == 1; f->length++)
		f->bytes[f->length] = byte;
	while ((part = strtok(NULL, " \n")) && f->fields < MOST_FIELDS) {
		struct field *x = &f->field[f->fields++];

		if (sscanf(part, "%hu:%hu:%hu", &x->offset, &x->bytes, &x->from) != 3 || x->offset + x->bytes > (int)f->length ||
		    x->from + x->bytes > RANDOM_BYTES) {
			fprintf(stderr, "flood: no field: %s\n", part);
			exit(2);
		}
	}
}

static void read_frames(void)
{
	static char line[FRAME_BYTES * 4];

	while (count < MOST_FRAMES && fgets(line, sizeof(line), stdin) && line[0] != '\n')
		read_frame(line);
	if (!count) {
		fprintf(stderr, "flood: no frame\n");
		exit(2);
	}
}

static int open_interface(const char *name)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = question.length ? htons(ETH_P_ARP) : 0,
		.sll_ifindex = if_nametoindex(name),
	};
	int made = socket(AF_PACKET, SOCK_RAW, 0), on = 1; /* of no protocol: receives nothing until it is bound to one */

	if (made < 0 || !to.sll_ifindex || bind(made, (struct sockaddr *)&to, sizeof(to)) ||
	    setsockopt(made, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on))) {
		perror(name);
		exit(2);
	}
	return made;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static bool input_ended(void)
{
	struct pollfd input = {.fd = 0, .events = POLLIN};
	char byte;

	return poll(&input, 1, 0) > 0 && read(0, &byte, 1) <= 0;
}

/* Asks, and waits for the answer; false when none comes */
static bool ask(int out)
{
	struct pollfd answers = {.fd = out, .events = POLLIN};
	uint8_t got[FRAME_BYTES];

	if (send(out, question.bytes, question.length, 0) < 0)
		return false;
	while (poll(&answers, 1, PATIENCE_MS) > 0)
		if (recv(out, got, sizeof(got), 0) >= ARP_BYTES && get16(got + ARP_OPERATION) == ARP_REPLY &&
		    !memcmp(got + ARP_SENDER, question.bytes + ARP_TARGET, 4))
			return true;
	return false;
}

static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];
static uint8_t copies[BATCH][FRAME_BYTES];

static void fill_batch(uint64_t *state, int *next, uint64_t *random)
{
	for (int i = 0; i < BATCH; i++) {
		const struct frame *f = &frames[*next];

		if (!f->follows)
			for (int j = 0; j < RANDOM_BYTES / 8; j++)
				random[j] = draw(state);
		memcpy(copies[i], f->bytes, f->length);
		for (int j = 0; j < f->fields; j++)
			memcpy(copies[i] + f->field[j].offset, (uint8_t *)random + f->field[j].from, f->field[j].bytes);
		mend(copies[i], f->length);
		vectors[i] = (struct iovec){copies[i], f->length};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
		*next = (*next + 1) % count;
	}
}

int main(int argc, char **argv)
{
	uint64_t state, sent = 0, unanswered = 0, random[RANDOM_BYTES / 8];
	int out, next = 0;
	double began;

	if (argc != 3) {
		fprintf(stderr, "usage: flood INTERFACE SEED\n");
		return 2;
	}
	state = strtoull(argv[2], NULL, 0);
	read_frames();
	out = open_interface(argv[1]);
	printf("ready\n");
	fflush(stdout);
	began = now();
	while (!input_ended()) {
		int done;

		fill_batch(&state, &next, random);
		done = sendmmsg(out, messages, BATCH, 0);
		if (done < 0 && errno != ENOBUFS && errno != EAGAIN) {
			perror("flood");
			return 1;
		}
		sent += done > 0 ? done : 0;
		if (question.length && !ask(out))
			unanswered++;
	}
	printf("%lu %ld %lu\n", (unsigned long)sent, (long)((now() - began) * 1000), (unsigned long)unanswered);
	return 0;
}
