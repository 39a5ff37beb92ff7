/* SPDX-License-Identifier: Apache-2.0 */
/* BCC includes this first and insists on the one option below. */
#define CONFIG_BPF_SYSCALL 1
