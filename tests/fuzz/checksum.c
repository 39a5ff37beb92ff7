/* SPDX-License-Identifier: Apache-2.0 */
/* Every checksum with a thousand changes of the words that it covers, and every change with a thousand checksums, by the datapath's own
 * functions: what comes out is taken by a receiver, who sums in one's complement, which is counting modulo 65535. Also TTL_DELTA beside a
 * change, which makes a sum of 17 bits, and the folding of large sums. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef uint16_t __u16;
typedef uint32_t __u32;
typedef uint64_t __u64;
struct address {
	__u32 word[4];
};
#include "checksum.h"

#define MODULUS 65535
#define ALL 65536U
#define TTL_DELTA 0xfffe /* of a little-endian machine */
#define SUMS 2000000
#define STEP 251 /* between edges */
#define EDGE 200

static int wrong(const char *what, __u64 a, __u64 b, __u64 got)
{
	printf("%s: %llx, %llx makes %llx\n", what, (unsigned long long)a, (unsigned long long)b, (unsigned long long)got);
	return 1;
}

/* 0xffff as a checksum says that every word is zero, which no header's are: it must not be made of one that said something else */
static bool taken(__u32 checksum, __u32 delta)
{
	__u32 before = checksum ^ 0xffff, got = updated_checksum(checksum, delta);

	return (got + before + delta) % MODULUS == 0 && (got != 0xffff || before + delta == 0);
}

static bool near_edge(__u32 value)
{
	return value < EDGE || value >= ALL - EDGE || (value >= ALL / 2 - EDGE && value < ALL / 2 + EDGE);
}

static __u64 drawn(__u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

int main(void)
{
	static const __u64 edges[] = {0,	  1,	      0xfffe,	   0xffff,		 0x10000,    0x1fffe,
				      0xfffeffff, 0xffffffff, 0x100000000, 0xffff0000ffffULL, ~0ULL - 1, ~0ULL};
	__u64 state = 88172645463325252ULL;
	int edge_count = sizeof(edges) / sizeof(edges[0]);

	for (int i = 0; i < SUMS; i++) {
		__u64 a = i < edge_count * edge_count ? edges[i / edge_count] : drawn(&state) >> (i & 31);
		__u64 b = i < edge_count * edge_count ? edges[i % edge_count] : drawn(&state) >> 8;

		if (fold(a) % MODULUS != a % MODULUS || (fold(a) == 0) != (a == 0))
			return wrong("fold", a, 0, fold(a));
		if (a >> 56 || b >> 56)
			continue;
		if ((checksum_delta(a, b) + a) % MODULUS != b % MODULUS)
			return wrong("change", a, b, checksum_delta(a, b));
	}
	for (__u32 one = 0; one < ALL; one++) {
		for (__u32 other = 0; other < ALL; other += near_edge(other) ? 1 : STEP) {
			if (!taken(one, other) || !taken(other, one))
				return wrong("update", one, other, updated_checksum(one, other));
			if (!taken(one, other + TTL_DELTA) || !taken(other, one + TTL_DELTA))
				return wrong("update with TTL", one, other, updated_checksum(one, other + TTL_DELTA));
		}
	}
	puts("right");
	return 0;
}
