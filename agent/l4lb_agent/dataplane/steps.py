"""Bytecode that also writes down what it looks up and where it redirects to: the same instructions, and some before certain helper calls.

A program that is loaded with them does exactly what it did before. The additions use registers that a helper with two arguments leaves
undefined (r3 to r5), end with the call, and jump nowhere else; jumps over them become longer, and that is all.

What is written is one array element, `STEPS_MAP`: a 32-bit count, four bytes of nothing, and so many pairs of 32-bit words: the number
that `with_steps` was given for the map, and the key; or REDIRECT and the interface. Beyond MOST pairs nothing is written.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Final

STEPS_MAP: Final = "steps"
MOST: Final = 1022
STEPS_BYTES: Final = 8 + 8 * MOST
REDIRECT: Final = 0  # in the place of a map's number
_LOAD_64, _PSEUDO_MAP_VALUE = 0x18, 2
_CALL, _EXIT, _LONG_JUMP = 0x85, 0x95, 0x06
_JUMPS = (5, 6)  # classes of instructions
_LOOKUP, _REDIRECT = 1, 23  # helpers
_ADDED = 12  # instructions; a load of 64 bits counts for two
Relocations = tuple[tuple[int, str], ...]


def _instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | to, offset, immediate)


def _note(what: int, key: bytes) -> bytes:
    """Adds one pair; `key` loads r4."""
    return (
        _instruction(_LOAD_64, 3, _PSEUDO_MAP_VALUE) + bytes(8)  # r3 = the element; its descriptor is relocated
        + _instruction(0x61, 4, 3)  # r4 = *(u32 *)r3
        + _instruction(0x25, 4, 0, 8, MOST - 1)  # if r4 > MOST - 1: to the call
        + _instruction(0xBF, 5, 4)  # r5 = r4
        + _instruction(0x67, 5, 0, 0, 3)  # r5 <<= 3
        + _instruction(0x0F, 5, 3)  # r5 += r3
        + _instruction(0x07, 4, 0, 0, 1)  # r4 += 1
        + _instruction(0x63, 3, 4)  # *(u32 *)r3 = r4
        + key
        + _instruction(0x63, 5, 4, 12)  # *(u32 *)(r5 + 12) = r4
        + _instruction(0x62, 5, 0, 8, what)  # *(u32 *)(r5 + 8) = what
    )  # fmt: skip


_KEY_OF_LOOKUP = _instruction(0x61, 4, 2)  # r4 = *(u32 *)r2
_KEY_OF_REDIRECT = _instruction(0xBF, 4, 1)  # r4 = r1


class _Program:
    """One program's instructions, taken apart."""

    def __init__(self, code: bytes, relocations: Relocations) -> None:
        self.fields = [struct.unpack_from("<BBhi", code, at) for at in range(0, len(code), 8)]
        self.maps = {offset // 8: name for offset, name in relocations}
        self.targets = frozenset(at + 1 + offset for at, (code, _, offset, _) in enumerate(self.fields) if self._jumps(code))

    def _jumps(self, code: int) -> bool:
        if code == _LONG_JUMP:
            raise ValueError("the bytecode has a jump of 32 bits, which is not known here")
        return code & 7 in _JUMPS and code not in (_CALL, _EXIT)

    def is_jump(self, at: int) -> bool:
        """Whether the instruction there is one."""
        return self._jumps(self.fields[at][0])

    def map_of(self, call: int) -> str:
        """The map that a lookup is given: what was last loaded into r1, on the one way that leads to the call. Raises ValueError."""
        for at in range(call, -1, -1):
            if at in self.maps and self.fields[at][1] & 15 == 1:
                return self.maps[at]
            if at in self.targets or (at < call and self.fields[at][0] & 7 in _JUMPS):
                break
        raise ValueError(f"instruction {call}: which map is looked into depends on the way to it")

    def notes(self, numbers: Mapping[str, int]) -> Iterable[tuple[int, bytes]]:
        """Where something is to be added, and what."""
        for at, (code, registers, _, helper) in enumerate(self.fields):
            if code != _CALL:
                continue
            if registers:
                raise ValueError(f"instruction {at}: a call of a function, which is not known here")
            if helper == _REDIRECT:
                yield at, _note(REDIRECT, _KEY_OF_REDIRECT)
            elif helper == _LOOKUP and (name := self.map_of(at)) in numbers:
                yield at, _note(numbers[name], _KEY_OF_LOOKUP)


def with_steps(code: bytes, relocations: Relocations, numbers: Mapping[str, int]) -> tuple[bytes, Relocations]:
    """The instructions that write down every lookup in the maps of `numbers` (keys of 4 bytes, numbers from 1) and every redirect, with
    their relocations, those of STEPS_MAP among them. Raises ValueError for bytecode of a kind that the compiler does not make today."""
    program = _Program(code, relocations)
    notes = dict(program.notes(numbers))
    sites = sorted(notes)

    def begins(at: int) -> int:
        """Where an instruction and what was added before it begin."""
        return at + _ADDED * bisect_right(sites, at - 1)

    made, added = [], []
    for at, (operation, registers, offset, immediate) in enumerate(program.fields):
        own = begins(at)
        if at in notes:
            added.append((8 * own, STEPS_MAP))
            made.append(notes[at])
            own += _ADDED
        if program.is_jump(at):
            offset = begins(at + 1 + offset) - own - 1
        made.append(struct.pack("<BBhi", operation, registers, offset, immediate))
    moved = tuple((8 * begins(offset // 8), name) for offset, name in relocations)
    return b"".join(made), (*moved, *added)


def read(element: bytes) -> list[tuple[int, int]]:
    """The pairs in the element, in the order in which they came. Raises OverflowError when there were more than MOST."""
    count = struct.unpack_from("=I", element)[0]
    if count >= MOST:
        raise OverflowError(f"a packet was followed for {MOST} steps and had not ended")
    return list(struct.iter_unpack("=II", element[8 : 8 + 8 * count]))
