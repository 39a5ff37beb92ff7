// SPDX-License-Identifier: Apache-2.0

// What becomes of calls and streams whose agent is killed, and comes back, again and again.
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Http2Server } from "node:http2";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { type Client, LoadBalancerService, WatchBackendsResponseSchema, WatchBackendsResponse_Event as Event } from "../src/index.js";
import { dial, failureOf, stats, watch } from "../src/index.js";

const RESTARTS = 25;
const CALLERS = 20;
const SAMPLES = 50;
const NAME = "services/web/backends/a";
const PATIENCE_MS = 20_000; // all attempts of a call with the pauses between them take less

const random = (ms: number) => sleep(Math.random() * ms);

/** An agent that can be killed; what it knows survives. It answers after a while, so that it is killed at every moment of a call. */
class Agent {
  revision = 1n;
  refusing = 0; // share of the calls that it refuses
  cut = 0; // calls that ran when it was killed
  private running = 0;
  private server?: Http2Server;
  private connections = new Set<Socket>();

  constructor(private readonly socket: string) {}

  async start(): Promise<void> {
    this.server = createServer(connectNodeAdapter({ routes: (router) => this.routes(router) }));
    this.server.on("connection", (connection: Socket) => {
      this.connections.add(connection);
      connection.on("close", () => this.connections.delete(connection));
    });
    this.server.listen(this.socket);
    await once(this.server, "listening");
  }

  async kill(): Promise<void> {
    const closed = once(this.server!, "close");
    this.server!.close();
    this.cut += this.running;
    this.connections.forEach((connection) => connection.destroy());
    await closed;
  }

  private routes(router: ConnectRouter): void {
    const agent = this;
    router.service(LoadBalancerService, {
      async getBackend({ name }) {
        agent.running++;
        await random(20);
        agent.running--;
        if (Math.random() < agent.refusing) {
          throw new ConnectError("not now", Code.Unavailable);
        }
        return { backend: { name } };
      },
      async *streamStats({ samples }) {
        for (let sent = 0; sent < samples; sent++) {
          agent.running++;
          await random(20);
          agent.running--;
          yield { stats: {} };
        }
      },
      async *watchBackends({ resumeRevision }, { signal }) {
        let told = resumeRevision;
        if (told === 0n) {
          told = agent.revision;
          yield create(WatchBackendsResponseSchema, { event: Event.ADDED, backend: { name: NAME }, revision: told });
          yield create(WatchBackendsResponseSchema, { event: Event.SYNCED, revision: told });
        }
        while (!signal.aborted) {
          while (told < agent.revision) {
            yield create(WatchBackendsResponseSchema, { event: Event.MODIFIED, revision: ++told });
          }
          await sleep(1);
        }
      },
    });
  }
}

let folder: string;
let agent: Agent;
let lb: Client;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "l4lb-"));
  agent = new Agent(join(folder, "admin.sock"));
  lb = dial(`unix://${join(folder, "admin.sock")}`);
});

afterEach(async () => {
  lb.close();
  await agent.kill();
  rmSync(folder, { recursive: true });
});

test("calls end, and streams go on, while the agent is killed again and again", async () => {
  agent.refusing = 0.25;
  await agent.start();
  let over = false;
  const results: Record<string, number> = {};

  const answered = async () => (await lb.rpc.getBackend({ name: NAME })).backend?.name === NAME;
  const streamed = async () => (await stats(lb, { samples: 1 }).next()).value !== undefined;
  const call = async (what: () => Promise<boolean>) => {
    while (!over) {
      const began = Date.now();
      const result = await what().then(
        (whole) => (whole ? "OK" : "another answer"),
        (error: unknown) => failureOf(error).code,
      );
      results[result] = (results[result] ?? 0) + 1;
      assert.ok(Date.now() - began < PATIENCE_MS, "neither an answer nor an error in time");
      await random(5);
    }
  };
  const watched = async (begun: () => void) => {
    const told: bigint[] = [];
    for await (const { event, revision } of watch(lb, "services/web")) {
      begun();
      if (event === Event.MODIFIED) {
        told.push(revision);
      }
      if (over && revision === agent.revision) {
        return told;
      }
    }
    throw new Error("the watch has ended");
  };
  const sampled = async (begun: () => void) => {
    let samples = 0;
    for await (const _ of stats(lb, { samples: SAMPLES })) {
      begun();
      samples++;
    }
    return samples;
  };

  let told: Promise<bigint[]>;
  let samples: Promise<number>;
  // A stream that never began is not begun again.
  await new Promise<void>((begun) => (told = watched(begun)));
  await new Promise<void>((begun) => (samples = sampled(begun)));
  const calls = Array.from({ length: CALLERS }, (_, number) => call(number % 2 === 0 ? answered : streamed));
  for (let restart = 0; restart < RESTARTS; restart++) {
    for (let change = 0; change < 5; change++) {
      await random(12);
      agent.revision++;
    }
    await agent.kill();
    await random(20);
    await agent.start();
  }
  over = true;
  agent.refusing = 0;
  agent.revision++;
  await Promise.all(calls);
  assert.equal((await lb.rpc.getBackend({ name: NAME })).backend?.name, NAME);
  const revisions = await told!;
  assert.deepEqual(revisions, Array.from({ length: 5 * RESTARTS + 1 }, (_, index) => BigInt(index + 2)));
  assert.equal(await samples!, SAMPLES);
  assert.deepEqual(Object.keys(results).filter((result) => !["OK", "UNAVAILABLE"].includes(result)), []);
  const met = `the agent was not killed while it worked: ${JSON.stringify(results)}`;
  assert.ok(results.OK! > RESTARTS && results.UNAVAILABLE! > RESTARTS && agent.cut > RESTARTS, met);
});

test("a call that finds no agent is answered by the next one, or ends as UNAVAILABLE", async () => {
  const answer = lb.rpc.getBackend({ name: NAME });
  await sleep(10);
  await agent.start();
  assert.equal((await answer).backend?.name, NAME);
  await agent.kill();
  await assert.rejects(lb.rpc.getBackend({ name: NAME }), (error) => failureOf(error).code === "UNAVAILABLE");
  await assert.rejects(watch(lb, "services/web").next(), (error) => failureOf(error).code === "UNAVAILABLE");
  await agent.start();
});

test("a stream that its caller ends is not begun again", async () => {
  await agent.start();
  const ended = new AbortController();
  const events = watch(lb, "services/web", ended.signal);
  assert.equal((await events.next()).value?.event, Event.ADDED);
  assert.equal((await events.next()).value?.event, Event.SYNCED);
  const began = Date.now();
  ended.abort();
  await assert.rejects(events.next(), (error) => failureOf(error).code === "CANCELLED");
  assert.ok(Date.now() - began < 1000);
});
