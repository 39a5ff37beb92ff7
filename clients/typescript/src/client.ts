// SPDX-License-Identifier: Apache-2.0

import { type Client as ConnectClient, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { LoadBalancerService } from "./gen/l4lb/v1/service_pb.js";
import { lost, unavailable } from "./lost.js";

/** PEM files of a connection over TCP: whom to trust, and who the caller is. */
export interface Tls {
  ca: string;
  cert: string;
  key: string;
  /** Name in the agent's certificate, when it is not the host of the target. */
  serverName?: string;
}

const ATTEMPTS = 5;
const CALL_MS = 10_000;

/** A connection to one agent. Its calls are `rpc`, which has a method for each rpc of the API. */
export interface Client {
  readonly rpc: ConnectClient<typeof LoadBalancerService>;
  /** Ends the connection, and with it every call that runs. */
  close(): void;
}

/** A client of `target`, `unix:///path` or `host:port`; the latter needs files, for the agent speaks mutual TLS only. The connection is made
 * by the first call. */
export function dial(target: string, tls?: Tls): Client {
  const ping = { pingIntervalMs: 30_000, pingTimeoutMs: 10_000 };
  const unix = /^unix:(\/\/)?(?=\/)/;
  let baseUrl = "http://localhost";
  let sessions: Http2SessionManager;
  if (unix.test(target)) {
    const path = target.replace(unix, "");
    sessions = new Http2SessionManager(baseUrl, ping, { createConnection: () => connect(path) });
  } else {
    if (tls === undefined) {
      throw new TypeError(`${target} needs certificates: the agent speaks mutual TLS only`);
    }
    baseUrl = `https://${target}`;
    const [ca, cert, key] = [tls.ca, tls.cert, tls.key].map((file) => readFileSync(file));
    const named = tls.serverName === undefined ? {} : { servername: tls.serverName };
    sessions = new Http2SessionManager(baseUrl, ping, { ca, cert, key, minVersion: "TLSv1.3", ...named });
  }
  const transport = createGrpcTransport({ baseUrl, sessionManager: sessions, interceptors: [deadline, retried] });
  return { rpc: createClient(LoadBalancerService, transport), close: () => sessions.abort() };
}

/** An id for a change: the same for each attempt, so that the agent does it once. */
export function requestId(): string {
  return crypto.randomUUID();
}

/** UNAVAILABLE alone is retried (AIP-194), a lost connection included, and no stream: streams.ts knows how those go on. */
const retried: Interceptor = (next) => async (request) => {
  for (let attempt = 1; ; attempt++) {
    try {
      return await next(request);
    } catch (error) {
      if (request.stream || request.signal.aborted || !lost(error)) {
        throw error;
      }
      if (attempt === ATTEMPTS) {
        throw unavailable(error);
      }
      await sleep(Math.random() * Math.min(2000, 200 * 2 ** attempt));
    }
  }
};

/** A call that is not a stream and has no deadline of its own gets one. */
const deadline: Interceptor = (next) => async (request) => {
  if (request.stream || request.header.has("grpc-timeout")) {
    return next(request);
  }
  return next({ ...request, signal: AbortSignal.any([request.signal, AbortSignal.timeout(CALL_MS)]) });
};
