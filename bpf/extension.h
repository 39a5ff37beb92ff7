/* SPDX-License-Identifier: Apache-2.0 */
/* IPv6 extension headers: which there are, and how long they are (RFC 8200 4, RFC 7045 3). */
#ifndef L4LB_EXTENSION_H
#define L4LB_EXTENSION_H

static __always_inline __u32 extension_bytes(const struct extension *x, __u8 kind)
{
	if (kind == PROTOCOL_FRAGMENT)
		return EXTENSION_BYTES;
	return kind == PROTOCOL_AH ? (x->length + 2) * 4 : (x->length + 1) * 8;
}

static __always_inline bool is_extension(__u8 kind)
{
	return kind == PROTOCOL_HOP_BY_HOP || kind == PROTOCOL_ROUTING || kind == PROTOCOL_FRAGMENT || kind == PROTOCOL_AH ||
	       kind == PROTOCOL_DESTINATION_OPTIONS || kind == PROTOCOL_MOBILITY || kind == PROTOCOL_HIP || kind == PROTOCOL_SHIM6;
}

#endif
