"""Bytecode that writes down its steps: what is added where, and that jumps still lead to where they led."""

import struct

import pytest

from l4lb_agent.dataplane import steps
from l4lb_agent.model.frames import source_port

CALL_LOOKUP, CALL_REDIRECT, CALL_OTHER, EXIT = ((0x85, 0, 0, 1), (0x85, 0, 0, 23), (0x85, 0, 0, 118), (0x95, 0, 0, 0))
LOAD = [(0x18, 0x11, 0, 0), (0, 0, 0, 0)]  # r1 = a map
KEY = [(0xBF, 0xA2, 0, 0), (0x07, 2, 0, -4)]  # r2 = r10 - 4
ADDED = 12
Instruction = tuple[int, int, int, int]


def code(*instructions: Instruction) -> bytes:
    return b"".join(struct.pack("<BBhi", *one) for one in instructions)


def fields(raw: bytes) -> list[Instruction]:
    return list(struct.iter_unpack("<BBhi", raw))


def test_a_lookup_is_written_down_right_before_its_call() -> None:
    program = [*LOAD, *KEY, CALL_LOOKUP, EXIT]
    made, relocations = steps.with_steps(code(*program), ((0, "flows"),), {"flows": 7})
    found = fields(made)
    assert found[:4] == program[:4]
    assert found[4 + ADDED :] == program[4:]
    assert relocations == ((0, "flows"), (8 * 4, steps.STEPS_MAP))
    assert found[4 + ADDED - 1] == (0x62, 5, 8, 7), "the number of the map"
    skip = next(at for at, one in enumerate(found) if one[0] == 0x25)
    assert skip + 1 + found[skip][2] == 4 + ADDED, "a full list is skipped up to the call"


def test_maps_without_a_number_and_other_helpers_stay_as_they_are() -> None:
    program = code(*LOAD, *KEY, CALL_LOOKUP, CALL_OTHER, EXIT)
    assert steps.with_steps(program, ((0, "rings"),), {"flows": 7}) == (program, ((0, "rings"),))


def test_a_redirect_is_written_down_with_its_interface() -> None:
    made, relocations = steps.with_steps(code((0xB7, 1, 0, 5), (0xB7, 2, 0, 0), CALL_REDIRECT, EXIT), (), {})
    assert (0x62, 5, 8, steps.REDIRECT) in fields(made)
    assert (0xBF, 0x14, 0, 0) in fields(made), "r4 = r1"
    assert relocations == ((16, steps.STEPS_MAP),)


def test_jumps_over_additions_become_longer_in_both_directions() -> None:
    """Forwards over one call, backwards over two, and one that jumps over none."""
    lookup = [*LOAD, *KEY, CALL_LOOKUP]
    program = [(0x15, 0, 6, 0), (0x05, 0, 0, 0), *lookup, *lookup, (0x05, 0, -13, 0), EXIT]
    made, relocations = steps.with_steps(code(*program), ((16, "flows"), (56, "flows")), {"flows": 1})
    found = fields(made)
    assert found[0] == (0x15, 0, 6 + ADDED, 0)
    assert found[1] == (0x05, 0, 0, 0)
    assert found[-2] == (0x05, 0, -13 - 2 * ADDED, 0)
    assert [at for at, name in relocations if name == "flows"] == [16, 56 + 8 * ADDED]


@pytest.mark.parametrize(
    ("program", "relocations", "message"),
    [
        ([*LOAD, *KEY, (0x05, 0, 0, 0), CALL_LOOKUP, EXIT], ((0, "flows"),), "instruction 5: which map"),
        ([*KEY, CALL_LOOKUP, EXIT], (), "instruction 2: which map"),
        ([(0x15, 0, 2, 0), *LOAD, *KEY, CALL_LOOKUP, EXIT], ((8, "flows"),), "instruction 5: which map"),
        ([(0x06, 0, 0, 0), EXIT], (), "a jump of 32 bits"),
        ([(0x85, 0x10, 0, 1), EXIT], (), "instruction 0: a call of a function"),
    ],
)
def test_bytecode_that_cannot_be_followed_is_refused(program: list[Instruction], relocations: steps.Relocations, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        steps.with_steps(code(*program), relocations, {"flows": 1})


def test_what_was_written_down_is_read_in_its_order() -> None:
    element = struct.pack("=II6I", 3, 0, 1, 5, 2, 9, steps.REDIRECT, 4).ljust(steps.STEPS_BYTES, b"\xff")
    assert steps.read(element) == [(1, 5), (2, 9), (steps.REDIRECT, 4)]
    with pytest.raises(OverflowError, match="had not ended"):
        steps.read(struct.pack("=I", steps.MOST).ljust(steps.STEPS_BYTES, b"\0"))


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (bytes(12) + b"\x08\x00\x45" + bytes(8) + b"\x11" + bytes(10) + b"\x9c\x40", 40000),
        (bytes(12) + b"\x08\x00\x46" + bytes(8) + b"\x06" + bytes(14) + b"\x9c\x40", 40000),
        (bytes(12) + b"\x81\x00\x00\x05\x08\x00\x45" + bytes(8) + b"\x11" + bytes(10) + b"\x9c\x40", 40000),
        (bytes(12) + b"\x86\xdd" + bytes(6) + b"\x06" + bytes(33) + b"\x9c\x40", 40000),
        (bytes(12) + b"\x08\x00\x45" + bytes(8) + b"\x11" + bytes(10) + b"\x9c", None),
        (bytes(12) + b"\x08\x00\x45" + bytes(8) + b"\x01" + bytes(10) + b"\x9c\x40", None),
        (bytes(12) + b"\x86\xdd" + bytes(6) + b"\x2c" + bytes(33) + b"\x9c\x40", None),
        (bytes(12) + b"\x08\x06" + bytes(40), None),
        (bytes(14), None),
        (b"", None),
    ],
)
def test_the_source_port_of_a_frame(frame: bytes, expected: int | None) -> None:
    assert source_port(frame) == expected
