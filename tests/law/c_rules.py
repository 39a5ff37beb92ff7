"""The rules for C code, as functions from source to violations."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_FUNCTION_LINES, MAX_FILE_LINES, MAX_LINE = 60, 300, 140
MAX_MAPS_LINES = 400  # of l4lb.c: BCC lets maps be accessed in one file only
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */"
# In BPF by BCC only these can be what they say; a printk costs ten times the packet
FORBIDDEN = {"bpf_trace_printk": "too slow for a packet path", "bpf_printk": "too slow for a packet path", "goto": "one road, one exit"}
_HEAD = re.compile(r"^(?P<before>[a-z_].*\b)?(?P<name>[a-z_0-9]+)\((?P<arguments>.*)$")


@dataclass(frozen=True)
class Function:
    """A function definition: where its first line is, how many it has, its first line."""

    name: str
    line: int
    lines: int
    head: str


def functions(source: str) -> Iterator[Function]:
    """Every function: in this style a body starts with `{` and ends with `}` in the first column."""
    lines = source.splitlines()
    for number, text in enumerate(lines):
        if text != "{":
            continue
        start = number - 1
        while not _HEAD.match(lines[start]):
            start -= 1
        end = next(i for i in range(number, len(lines)) if lines[i] == "}")
        match = _HEAD.match(lines[start])
        assert match is not None
        yield Function(match["name"], start + 1, end - start + 1, lines[start])


def violations(name: str, source: str) -> list[str]:
    """What a file `name` of bpf/ does that it may not."""
    lines = source.splitlines()
    found = [] if lines and lines[0] == SPDX else ["line 1: not the SPDX line"]
    most = MAX_MAPS_LINES if name == "l4lb.c" else MAX_FILE_LINES
    if len(lines) > most:
        found.append(f"{len(lines)} lines, more than {most}")
    for number, text in enumerate(lines, start=1):
        width = len(text.expandtabs(8))
        if width > MAX_LINE:
            found.append(f"line {number}: {width} columns, more than {MAX_LINE}")
        if text != text.rstrip():
            found.append(f"line {number}: ends with a space")
        found += [f"line {number}: {word}: {why}" for word, why in FORBIDDEN.items() if re.search(rf"\b{word}\b", text)]
    for function in functions(source):
        if function.lines > MAX_FUNCTION_LINES:
            found.append(f"line {function.line}: {function.name} has {function.lines} lines, more than {MAX_FUNCTION_LINES}")
        if name.endswith(".h") and not function.head.startswith("static __always_inline "):
            found.append(f"line {function.line}: {function.name} is not static __always_inline: BCC can load no calls between functions")
    return found + _include_violations(name, source)


def _include_violations(name: str, source: str) -> list[str]:
    found = [f"includes {path}: no system header is needed" for path in re.findall(r"^#include <(.*)>", source, re.M)]
    included = re.findall(r'^#include "(.*)"', source, re.M)
    if name.endswith(".h"):
        found += [f"includes {path}: l4lb.c alone says the order" for path in included]
        guard = "L4LB_" + name.upper().replace(".", "_")
        if f"#ifndef {guard}\n#define {guard}\n" not in source:
            found.append(f"has no guard {guard}")
        if re.search(r"\.(lookup|update|insert|delete|call)\(", source):
            found.append("accesses a map: BCC translates that in l4lb.c only")
    return found
