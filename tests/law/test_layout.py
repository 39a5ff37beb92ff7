"""model/layout.py is the structures of bpf/: every size, offset and constant, as BCC's own compiler lays it out."""

import ctypes
import re
import subprocess
import sys

import pytest

from l4lb_agent.model import layout
from l4lb_agent.model.capture import layout as capture_layout
from l4lb_agent.model.choice import layout as choice_layout
from l4lb_agent.model.flows import layout as record_layout
from l4lb_agent.model.health import layout as probe_layout
from tests.law.python_rules import ROOT

BPF = ROOT / "bpf"
FILES = ("types.h", "choice.h", "counters.h", "policy.h", "capture_types.h", "datagram.h", "records.h", "probe_types.h")
MIRROR = vars(layout) | vars(capture_layout) | vars(choice_layout) | vars(record_layout) | vars(probe_layout)
TYPES = "".join((BPF / name).read_text() for name in FILES)
ONLY_IN_C = {"address"}  # an array of 16 bytes in Python
DERIVED = {"RING_SIZES", "SNAT_SLOTS", "BACKEND_ID_MAX"}  # Python's own names for what C says in other words
COMPILE = """
import os, sys
os.environ["BCC_KERNEL_SOURCE"] = sys.argv[1] + "/stubs"
from bcc import BPF
BPF(text=sys.stdin.read(), cflags=["-I" + sys.argv[1]])
"""


def structure_name(kind: type[ctypes.Structure]) -> str:
    """`OwnedAddress` is struct owned_address."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def mirrored() -> list[type[ctypes.Structure]]:
    """Every structure of layout.py and the like."""
    return [v for v in MIRROR.values() if isinstance(v, type) and issubclass(v, ctypes.Structure) and v is not ctypes.Structure]


def constants() -> dict[str, int]:
    """Every number of theirs that C names too."""
    return {k: v for k, v in MIRROR.items() if k.isupper() and isinstance(v, int) and k not in DERIVED}


def assertions() -> list[str]:
    """What the C compiler has to agree with."""
    found = []
    for kind in mirrored():
        name = structure_name(kind)
        found.append(f"sizeof(struct {name}) == {ctypes.sizeof(kind)}")
        for field in kind._fields_:
            place = getattr(kind, field[0])
            found.append(f"__builtin_offsetof(struct {name}, {field[0]}) == {place.offset}")
            found.append(f"sizeof(((struct {name} *)0)->{field[0]}) == {place.size}")
    found += [f"{name} == {value}" for name, value in constants().items()]
    for size in layout.RING_SIZES:
        found.append(f"sizeof(struct ring_{size}) == {2 * layout.ring_slots(size)}")
    found.append("sizeof(struct address) == 16")
    return found


def compiled(claims: list[str]) -> subprocess.CompletedProcess[str]:
    """BCC's verdict on the claims."""
    source = "".join(f'#include "{name}"\n' for name in FILES) + "".join(f'_Static_assert({claim}, "{claim}");\n' for claim in claims)
    return subprocess.run([sys.executable, "-c", COMPILE, str(BPF)], input=source, capture_output=True, text=True, timeout=110, check=False)


def test_every_size_offset_and_constant_is_the_same_in_c_and_python() -> None:
    claims = assertions()
    assert len(claims) > 200
    done = compiled(claims)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("wrong", ["sizeof(struct flow) == 63", "__builtin_offsetof(struct flow_v6, snat) == 47", "FLOW_UDP == 7"])
def test_a_difference_does_not_compile(wrong: str) -> None:
    done = compiled([wrong])
    assert done.returncode != 0
    assert wrong in done.stderr


def test_python_mirrors_every_structure_of_c() -> None:
    in_c = set(re.findall(r"^struct (\w+) \{", TYPES, re.M))
    assert {structure_name(kind) for kind in mirrored()} == in_c - ONLY_IN_C


def test_python_mirrors_every_constant_of_c() -> None:
    in_c = set(re.findall(r"^#define (\w+) (?:0x[0-9a-f]+|\d+)", TYPES, re.M)) | set(
        re.findall(r"^\t((?:FLOW|MODE|TRACKED|HASH|EMPTY)_\w+) = \d+", TYPES, re.M)
    )
    assert in_c - set(constants()) <= {"FLOW_NONE", "TRACKED_NONE", "VERDICTS"}
    assert set(constants()) <= in_c
