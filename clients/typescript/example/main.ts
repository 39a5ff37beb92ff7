// SPDX-License-Identifier: Apache-2.0

// What a controller does: add a backend, drain it and wait, read statistics, watch over restarts of the agent.
import { type DrainResult, DrainResultSchema, WatchBackendsResponse_EventSchema, dial, failureOf, requestId, stats, waitDrained, watch } from "../src/index.js";
import type { Client } from "../src/index.js";
import { parseArgs } from "node:util";

const USAGE = `usage: main.js [--target unix:///path|host:port] [--ca FILE --cert FILE --key FILE [--server-name NAME]] COMMAND
  add SERVICE/BACKEND ADDRESS WEIGHT   adds a backend to a virtual service
  drain SERVICE/BACKEND                takes it out and waits for its last flow
  stats SAMPLES                        reads a sample each half second
  watch SERVICE|- EVENTS               tells what happens to backends; 0 events is for ever`;

function parts(name: string): { parent: string; id: string; full: string } {
  const [service = "", id = ""] = name.split("/");
  return { parent: `services/${service}`, id, full: `services/${service}/backends/${id}` };
}

async function add(lb: Client, name: string, address: string, weight: number): Promise<void> {
  const { parent, id } = parts(name);
  // The request id is the same for every attempt: it is added once.
  const { backend } = await lb.rpc.addBackend({ parent, backendId: id, backend: { address, weight }, requestId: requestId() });
  if (backend?.reconciling) {
    console.log(`added ${backend.name}, not yet forwarded to: ${backend.reconcilingReason}`);
  } else if (backend) {
    console.log(`added ${backend.name}, ${(100 * backend.slotShare).toFixed(0)} % of the slots`);
  }
}

async function drain(lb: Client, name: string): Promise<void> {
  const { full } = parts(name);
  await lb.rpc.drainBackend({ name: full, policy: { timeout: { seconds: 300n } }, requestId: requestId() });
  const drained = await waitDrained(lb, full, ({ drain }) => {
    console.log(`${name}: ${drain?.remainingFlows} of ${drain?.initialFlows} flows left`);
  });
  console.log(`${name}: drained, ${DrainResultSchema.value[drained.drain?.result as DrainResult]?.name}`);
}

async function readStats(lb: Client, samples: number): Promise<void> {
  for await (const sample of stats(lb, { interval: { nanos: 500_000_000 }, samples })) {
    for (const { backend, traffic } of sample.backends) {
      console.log(`${backend}: ${traffic?.flows} flows, ${traffic?.activeFlows} active, ${traffic?.packetsIn} packets in`);
    }
  }
}

async function tellEvents(lb: Client, service: string, events: number): Promise<void> {
  let told = 0;
  for await (const { event, backend, revision } of watch(lb, `services/${service}`)) {
    console.log(`${WatchBackendsResponse_EventSchema.value[event]?.name} ${backend?.name ?? ""} at revision ${revision}`);
    if (++told === events) {
      return;
    }
  }
}

function command(lb: Client, words: string[]): Promise<void> | undefined {
  const [verb, first = "", second = "", third = ""] = words;
  switch (`${verb} ${words.length - 1}`) {
    case "add 3":
      return add(lb, first, second, Number(third));
    case "drain 1":
      return drain(lb, first);
    case "stats 1":
      return readStats(lb, Number(first));
    case "watch 2":
      return tellEvents(lb, first, Number(second));
  }
  return undefined;
}

const text = { type: "string" } as const;
const { values, positionals } = parseArgs({
  options: { target: { ...text, default: "unix:///run/l4lb/admin.sock" }, ca: text, cert: text, key: text, "server-name": text },
  allowPositionals: true,
});
const { ca, cert, key, "server-name": serverName } = values;
const lb = dial(values.target, ca && cert && key ? { ca, cert, key, serverName } : undefined);
try {
  const running = command(lb, positionals);
  if (running === undefined) {
    console.error(USAGE);
    process.exitCode = 2;
  }
  await running;
} catch (error) {
  const { code, reason, message } = failureOf(error);
  console.error(`example: ${code} ${reason}: ${message}`);
  process.exitCode = 1;
} finally {
  lb.close();
}
