// SPDX-License-Identifier: Apache-2.0

// Runs clients/scenario.json with the generated TypeScript client; clients/README.md says what a scenario is.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { dial } from "../src/index.js";
import { Runner, type Step } from "./run.js";

const text = { type: "string" } as const;
const { values, positionals } = parseArgs({
  options: {
    target: { ...text, default: "unix:///run/l4lb/admin.sock" },
    ca: text,
    cert: text,
    key: text,
    "server-name": text,
    set: { ...text, multiple: true, default: [] },
  },
  allowPositionals: true,
});
const { ca, cert, key, "server-name": serverName } = values;
const known = new Map(values.set.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)] as const));
const lb = dial(values.target, ca && cert && key ? { ca, cert, key, serverName } : undefined);
const runner = new Runner(lb, known);
try {
  const { steps } = JSON.parse(readFileSync(positionals[0] ?? "", "utf8")) as { steps: Step[] };
  for (const step of steps) {
    await runner.step(step);
  }
  console.log(`typescript: ${runner.steps} steps, ${runner.called.size} rpcs`);
} catch (error) {
  console.error(`scenario: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
} finally {
  lb.close();
}
