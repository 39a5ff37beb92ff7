"""Which functions, tail calls and maps each function of the datapath reaches, read from its sources as text."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.law.python_rules import ROOT

BPF = ROOT / "bpf"
_FUNCTION = re.compile(r"^(?:static __always_inline |static \w+ |int )(?:[\w ]+?[ *]+)?(\w+)\(([^;{]*)\)\n\{\n(.*?)^\}", re.M | re.S)
_MACRO = re.compile(r"^#define (\w+)\(([^)]*)\)((?:.*\\\n)*.*)$", re.M)
_MAP = re.compile(r"^BPF_\w+\((?:\"\w+\", struct \w+, \w+, )?(\w+)", re.M)


@dataclass(frozen=True)
class Function:
    """One of them, or a macro that looks like one."""

    name: str
    file: str
    body: str


@functools.cache
def functions() -> dict[str, Function]:
    """All by name."""
    found = {}
    for path in sorted(BPF.glob("*.[ch]")):
        text = path.read_text()
        for pattern in (_MACRO, _FUNCTION):
            found.update({match[1]: Function(match[1], path.name, match[3]) for match in pattern.finditer(text)})
    return found


@functools.cache
def maps() -> frozenset[str]:
    """Names of all maps."""
    return frozenset(_MAP.findall((BPF / "maps.h").read_text()))


@functools.cache
def tails() -> frozenset[str]:
    """Programs that can be called, in lower case."""
    text = (BPF / "types.h").read_text()
    return frozenset(name.lower() for name in re.findall(r"^#define TAIL_(\w+) \d", text, re.M))


def programs() -> list[str]:
    """Of l4lb.c, in its order."""
    return re.findall(r"^int (\w+)\(struct xdp_md \*ctx\)$", (BPF / "l4lb.c").read_text(), re.M)


@functools.cache
def reached(name: str) -> frozenset[str]:
    """The function and all that it calls, at any depth."""
    seen: set[str] = set()
    left = [name]
    while left:
        current = left.pop()
        if current in seen or current not in functions():
            continue
        seen.add(current)
        for called in re.findall(r"\b([\w#]+)\(", functions()[current].body):
            left += _pasted(called) if "##" in called else [called]
    return frozenset(seen)


def _pasted(name: str) -> list[str]:
    """Every function whose name a macro may put together so."""
    pattern = re.sub(r"##\w+?##|##\w+|\w+##", r"\\w+", name)
    return [one for one in functions() if re.fullmatch(pattern, one)]


def tails_of(name: str) -> frozenset[str]:
    """Programs that a function calls as tails, itself or by others."""
    return frozenset(tail.lower() for body in _bodies(name) for tail in re.findall(r"\btail_call\(ctx, TAIL_(\w+)\)", body))


def maps_of(name: str) -> frozenset[str]:
    """Maps that a function reads or writes, itself or by others."""
    return frozenset(found for body in _bodies(name) for found in re.findall(r"\b(\w+)\.(?:lookup|ringbuf_output|call)\(", body))


def _bodies(name: str) -> Iterator[str]:
    yield from (functions()[one].body for one in reached(name))
