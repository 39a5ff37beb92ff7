/* SPDX-License-Identifier: Apache-2.0 */
/* BCC brings its own copy of the interface; this one only has to bring the types. */
#include <linux/types.h>
