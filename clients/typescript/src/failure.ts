// SPDX-License-Identifier: Apache-2.0

import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/** What the agent says of a call that failed (google.rpc.ErrorInfo and BadRequest, AIP-193). */
export interface Failure {
  /** gRPC status, for instance NOT_FOUND. */
  code: string;
  /** The agent's own word for programs, empty when no agent answered. */
  reason: string;
  /** Path of the field to blame, or empty. */
  field: string;
  /** For people. */
  message: string;
  /** The variable parts of the message. */
  metadata: Record<string, string>;
}

/** Takes the details from an error of a call. */
export function failureOf(error: unknown): Failure {
  const said = ConnectError.from(error);
  const info = said.findDetails(ErrorInfoSchema)[0];
  const bad = said.findDetails(BadRequestSchema)[0];
  return {
    code: said.code === Code.Canceled ? "CANCELLED" : Code[said.code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase(),
    reason: info?.reason ?? "",
    field: bad?.fieldViolations[0]?.field ?? "",
    message: said.rawMessage,
    metadata: info?.metadata ?? {},
  };
}
