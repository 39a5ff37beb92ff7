/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing of it is used; BCC includes it. packet.h has the headers of packets. */
