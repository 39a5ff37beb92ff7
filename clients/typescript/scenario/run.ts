// SPDX-License-Identifier: Apache-2.0

import { type DescMessage, type DescMethod, type JsonObject, type JsonValue, type Message, fromJson, toJson } from "@bufbuild/protobuf";

import { type Client, type Failure, LoadBalancerService, failureOf } from "../src/index.js";
import { at, differences, filled } from "./match.js";

const STEP_MS = 20_000;
const MOST_READ = 100; // messages that `until` may pass over

/** One call and what comes of it. */
export interface Step {
  fact: string;
  rpc: string;
  request?: JsonObject;
  answer?: JsonObject;
  error?: JsonObject;
  keep?: Record<string, string>;
  stream?: Item[];
  complete?: boolean;
}

/** One thing that happens while a stream is open: its next message, the first message that is so, or another step. */
interface Item {
  next?: JsonObject;
  until?: JsonObject;
  step?: Step;
}

type Call = (request: Message, options: { signal: AbortSignal }) => Promise<Message> | AsyncIterable<Message>;

/** Runs steps; `known` are the variables, those that steps keep included. */
export class Runner {
  readonly called = new Set<string>();
  steps = 0;

  constructor(
    private readonly lb: Client,
    private readonly known: Map<string, string>,
  ) {}

  async step(step: Step): Promise<void> {
    this.steps++;
    this.called.add(step.rpc);
    try {
      await this.run(step);
    } catch (error) {
      throw new Error(`${step.fact} (${step.rpc}): ${error instanceof Error ? error.message : error}`);
    }
    console.log(`ok: ${step.fact}`);
  }

  private async run(step: Step): Promise<void> {
    const method: DescMethod | undefined = LoadBalancerService.methods.find(({ name }) => name === step.rpc);
    if (method === undefined) {
      throw new Error("the client has no such rpc");
    }
    const request = fromJson(method.input, filled(step.request ?? {}, this.known));
    const call = (this.lb.rpc as unknown as Record<string, Call>)[method.localName]!;
    const ended = new AbortController();
    const signal = AbortSignal.any([AbortSignal.timeout(STEP_MS), ended.signal]);
    const returned = call(request, { signal });
    if (!(Symbol.asyncIterator in returned)) {
      return this.compare(step, async () => plain(method.output, await returned));
    }
    const messages = returned[Symbol.asyncIterator]();
    const next = async () => {
      const { value, done } = await messages.next();
      return done ? undefined : plain(method.output, value);
    };
    // The error of a stream comes with its first message.
    await (step.error ? this.compare(step, next) : this.stream(step, next));
    ended.abort();
  }

  private async compare(step: Step, receive: () => Promise<JsonValue | undefined>): Promise<void> {
    let answer: JsonValue | undefined;
    try {
      answer = await receive();
    } catch (error) {
      if (step.error === undefined) {
        throw error;
      }
      const said: Failure = failureOf(error);
      return demand("error", step.error, { code: said.code, reason: said.reason, field: said.field });
    }
    if (step.error !== undefined) {
      throw new Error("expected an error, got an answer");
    }
    for (const [name, path] of Object.entries(step.keep ?? {})) {
      this.known.set(name, String(at(answer, path)));
    }
    demand("answer", filled(step.answer ?? {}, this.known), answer);
  }

  /** Plays the items of an open stream; one that is complete ends by itself, without an error. */
  private async stream(step: Step, next: () => Promise<JsonValue | undefined>): Promise<void> {
    for (const item of step.stream ?? []) {
      if (item.step) {
        await this.step(item.step);
      } else {
        await this.message(next, item);
      }
    }
    if (step.complete && (await next()) !== undefined) {
      throw new Error("expected the end of the stream, got a message");
    }
  }

  private async message(next: () => Promise<JsonValue | undefined>, item: Item): Promise<void> {
    const [most, expected] = item.next ? [1, item.next] : [MOST_READ, item.until ?? {}];
    let found: string[] = [];
    for (let read = 0; read < most; read++) {
      const actual = await next();
      if (actual === undefined) {
        throw new Error(`the stream ended; before: ${found.join("; ")}`);
      }
      found = differences("message", filled(expected, this.known), actual);
      if (found.length === 0) {
        return;
      }
    }
    throw new Error(found.join("; "));
  }
}

/** A message as JSON values, fields with their default included. */
function plain(schema: DescMessage, message: Message): JsonValue {
  return toJson(schema, message, { alwaysEmitImplicit: true });
}

function demand(path: string, expected: JsonValue, actual: JsonValue | undefined): void {
  const found = differences(path, expected, actual);
  if (found.length > 0) {
    throw new Error(found.join("; "));
  }
}
