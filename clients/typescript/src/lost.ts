// SPDX-License-Identifier: Apache-2.0

import { Code, ConnectError } from "@connectrpc/connect";

import { failureOf } from "./failure.js";

/** Whether the agent is not there, or the connection to it was lost: UNAVAILABLE in every other client, several codes in this runtime. What the
 * agent itself refuses has a reason. */
export function lost(error: unknown): boolean {
  const { code, reason } = failureOf(error);
  return code === "UNAVAILABLE" || (reason === "" && ["ABORTED", "CANCELLED", "INTERNAL", "UNKNOWN"].includes(code));
}

/** What a caller is told, at last, of an agent that is not there. */
export function unavailable(error: unknown): ConnectError {
  const said = ConnectError.from(error);
  return said.code === Code.Unavailable ? said : new ConnectError(said.rawMessage, Code.Unavailable, said.metadata, undefined, said);
}
