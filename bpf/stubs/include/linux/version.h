/* SPDX-License-Identifier: Apache-2.0 */
/* 6.1.0: the oldest kernel that the datapath is made for. Nothing depends on the running one. */
#define LINUX_VERSION_CODE 393472
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
