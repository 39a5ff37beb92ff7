/* SPDX-License-Identifier: Apache-2.0 */
/* The whole datapath, compiled for this machine. PROGRAMS is X(name, slot) for each tail. */
#include "shims.h"

#include "l4lb.c"

#define X(name, slot) [slot] = name,
int (*const native_programs[NATIVE_PROGRAMS])(struct xdp_md *) = {PROGRAMS};
