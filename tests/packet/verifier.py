"""What the verifier says of a program that it accepts."""

import ctypes
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.program import Code

_STATISTICS = 4  # BPF_LOG_STATS: figures only


@dataclass(frozen=True)
class Cost:
    """Instructions that the verifier walked through, and bytes of stack."""

    processed: int
    stack: int


def cost(name: str, code: Code, maps: Mapping[str, int]) -> Cost:
    """Load the program once more, asking for the figures."""
    instructions = ctypes.create_string_buffer(code.bound(maps), len(code.instructions))
    log, terms = ctypes.create_string_buffer(1 << 16), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "=IIQQIIQII16sII", syscall.PROG_TYPE_XDP, len(code.instructions) // 8, ctypes.addressof(instructions), ctypes.addressof(terms),
        _STATISTICS, len(log), ctypes.addressof(log), 0, 0, name.encode(), 0, syscall.ATTACH_XDP,
    )  # fmt: skip
    with Fd(syscall._bpf(syscall.PROG_LOAD, bytearray(attributes), f"load {name}")):
        text = log.value.decode()
    processed, stack = re.search(r"processed (\d+) insns", text), re.search(r"stack depth (\d+)", text)
    assert processed, text
    assert stack, text
    return Cost(int(processed[1]), int(stack[1]))
