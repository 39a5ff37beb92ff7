// SPDX-License-Identifier: Apache-2.0

import type { JsonValue } from "@bufbuild/protobuf";

/** Where `actual` is not as expected. Fields that `expected` does not name may be anything; `*` is anything but empty. */
export function differences(path: string, expected: JsonValue, actual: JsonValue | undefined): string[] {
  if (expected !== null && typeof expected === "object") {
    if (Array.isArray(expected) && (!Array.isArray(actual) || actual.length !== expected.length)) {
      return [`${path}: expected ${expected.length} items, got ${JSON.stringify(actual)}`];
    }
    return Object.entries(expected).flatMap(([key, value]) => differences(`${path}.${key}`, value, at(actual, key)));
  }
  const fits = expected === actual || (expected === "*" && !empty(actual)) || (expected === null && empty(actual));
  return fits ? [] : [`${path}: expected ${expected}, got ${JSON.stringify(actual)}`];
}

/** What a path of keys and indices leads to. */
export function at(value: JsonValue | undefined, path: string): JsonValue | undefined {
  let found = value;
  for (const key of path.split(".")) {
    found = found !== null && typeof found === "object" ? (found as Record<string, JsonValue>)[key] : undefined;
  }
  return found;
}

/** `value` with ${name} replaced in all its strings. */
export function filled(value: JsonValue, known: ReadonlyMap<string, string>): JsonValue {
  if (typeof value === "string") {
    return value.replace(/\$\{(\w+)\}/g, (whole, name: string) => known.get(name) ?? whole);
  }
  if (Array.isArray(value)) {
    return value.map((item) => filled(item, known));
  }
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, filled(item, known)]));
  }
  return value;
}

function empty(value: JsonValue | undefined): boolean {
  if (value !== null && typeof value === "object") {
    return Object.keys(value).length === 0;
  }
  return value === undefined || value === null || ["", "0", 0, false].includes(value);
}
