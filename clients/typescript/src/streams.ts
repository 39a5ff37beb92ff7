// SPDX-License-Identifier: Apache-2.0

import type { MessageInitShape } from "@bufbuild/protobuf";
import { setTimeout as sleep } from "node:timers/promises";

import type { Client } from "./client.js";
import { failureOf } from "./failure.js";
import { AdminState, type Backend } from "./gen/l4lb/v1/backend_pb.js";
import type { StreamStatsRequestSchema, WatchBackendsResponse } from "./gen/l4lb/v1/service_pb.js";
import { WatchBackendsResponse_Event as Event } from "./gen/l4lb/v1/service_pb.js";
import type { Stats } from "./gen/l4lb/v1/stats_pb.js";
import { lost, unavailable } from "./lost.js";

/** For how long a stream tries to come back after it lost the agent. */
const PATIENCE_MS = 60_000;

/** What happens to the backends of `parent` (`services/web`, or `services/-` for all). When the agent restarts it goes on after the last
 * revision. When the agent no longer remembers that one it begins anew: every backend comes as ADDED again, then SYNCED; a backend that did
 * not come again is gone. */
export async function* watch(lb: Client, parent: string, signal?: AbortSignal): AsyncGenerator<WatchBackendsResponse> {
  let revision = 0n; // the last one that is whole
  const connect = () => lb.rpc.watchBackends({ parent, resumeRevision: revision }, { signal });
  const again = (error: unknown) => {
    if (failureOf(error).code !== "OUT_OF_RANGE") {
      return lost(error);
    }
    const known = revision !== 0n;
    revision = 0n;
    return known;
  };
  for await (const message of goOn(connect, again, signal)) {
    // Before SYNCED a message belongs to the beginning, which cannot be resumed in its middle.
    if (revision !== 0n || message.event === Event.SYNCED) {
      revision = message.revision;
    }
    yield message;
  }
}

/** A sample at once and one each interval, over restarts of the agent; `samples` of them, or for ever. */
export async function* stats(lb: Client, asked: MessageInitShape<typeof StreamStatsRequestSchema>, signal?: AbortSignal): AsyncGenerator<Stats> {
  let left = asked.samples ?? 0;
  for await (const message of goOn(() => lb.rpc.streamStats({ ...asked, samples: left }, { signal }), lost, signal)) {
    if (message.stats !== undefined) {
      yield message.stats;
    }
    if (asked.samples && --left === 0) {
      return;
    }
  }
}

/** Waits for the end of the drain of a backend and gives it: `drain.result` says how it ended. `tell` is told each change. */
export async function waitDrained(lb: Client, name: string, tell: (backend: Backend) => void, signal?: AbortSignal): Promise<Backend> {
  let seen = false;
  for await (const { event, backend } of watch(lb, name.split("/backends/")[0] ?? "", signal)) {
    if (event === Event.SYNCED && !seen) {
      throw new Error(`${name} does not exist`);
    }
    if (backend?.name !== name) {
      continue;
    }
    seen = true;
    if (event === Event.DELETED) {
      throw new Error(`${name} was removed`);
    }
    if (backend.adminState !== AdminState.DRAINING && backend.adminState !== AdminState.DRAINED) {
      throw new Error(`${name} is not being drained`);
    }
    tell(backend);
    if (backend.adminState === AdminState.DRAINED) {
      return backend;
    }
  }
  throw new Error(`the agent ended the watch of ${name}`);
}

/** Reads a stream and connects again while `again` wants it and `signal` does not end it. A stream that never began is not begun again. */
async function* goOn<M>(connect: () => AsyncIterable<M>, again: (error: unknown) => boolean, signal?: AbortSignal): AsyncGenerator<M> {
  let heard = 0;
  for (let wait = 100; ; wait = Math.min(2 * wait, 2000)) {
    try {
      for await (const message of connect()) {
        [heard, wait] = [Date.now(), 100];
        yield message;
      }
      return;
    } catch (error) {
      if (signal?.aborted) {
        throw error;
      }
      if (heard === 0 || Date.now() - heard > PATIENCE_MS || !again(error)) {
        throw lost(error) ? unavailable(error) : error;
      }
    }
    await sleep(wait, undefined, { signal });
  }
}
