/* SPDX-License-Identifier: Apache-2.0 */
/* Masks in the place of branches: one that cannot be foretold costs a CPU its guess, and the verifier a walk through all that comes
 * after. */
#ifndef L4LB_MASK_H
#define L4LB_MASK_H

/* All ones if the number is zero, else 0; the compiler shall not see that it could be a branch */
static __always_inline __u32 if_zero(__u64 number)
{
	__u64 sign = number | -number;

	asm volatile("" : "+r"(sign));
	return (__u32)(sign >> 63) - 1;
}

/* All ones if both are equal, else 0 */
static __always_inline __u32 if_equal(__u32 a, __u32 b)
{
	return if_zero(a ^ b);
}

#endif
