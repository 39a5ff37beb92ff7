"""docs/operations.md has every finding of the doctor and every warning of the agent, with what it means and what to do, and no others."""

import ast
import re
from collections.abc import Iterator

import pytest

from l4lb_agent.model.backend import AdminState, DrainResult
from l4lb_agent.model.doctor.finding import Id, Severity
from tests.law.python_rules import ROOT, python_files

TEXT = (ROOT / "docs/operations.md").read_text()
FINDINGS = re.findall(r"^\| ([A-Z_]+) \| ([A-Z, ]+) \| (.+?) \| (.+?) \|$", TEXT, re.M)
WARNINGS = re.findall(r"^\| ([A-Z_]+) \| ((?:[^|A-Z]|[A-Z][^|A-Z])[^|]*) \| ([^|]+) \|$", TEXT, re.M)


# What no test can provoke on a machine that it shares; tests/unit/test_doctor.py injects these facts at the door.
INJECTED = {
    Id.LRO_ON: "a veth has no LRO, and no other driver is here",
    Id.GRO_HW_ON: "a veth merges nothing in hardware",
    Id.KERNEL_UNTRIED: "an older kernel does not run the tests",
    Id.JIT_OFF: "the setting is the whole host's, and Debian's kernels have the compiler always on",
    Id.BACKEND_WAY_UNUSABLE: "the kernel of the tests has no VLAN devices; tests/unit/test_vlan.py decides about theirs",
    Id.CLOCK_UNSYNCHRONISED: "whether the clock is kept right is the whole host's",
}
REAL = [
    ROOT / path
    for path in ("tests/kernel/test_doctor.py", "tests/kernel/test_looks.py", "tests/netns/test_doctor.py", "lab/faults/planted.py")
]


def told() -> Iterator[str]:
    """Reasons of warnings in the agent: the first of pairs whose second is the message."""
    for path in python_files("agent/l4lb_agent/control", "agent/l4lb_agent/api"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant):
                word, message = node.elts[0].value, node.elts[1]
                if isinstance(word, str) and re.fullmatch(r"[A-Z]+(_[A-Z]+)+", word) and not isinstance(message, ast.Constant):
                    yield word


def test_every_finding_is_there_in_the_order_of_the_list() -> None:
    assert [row[0] for row in FINDINGS] == list(Id)


def test_each_finding_is_provoked_for_real_or_there_is_a_reason_why_not() -> None:
    text = "".join(path.read_text() for path in REAL)
    ways = (
        "Id.{}]",
        '["{}"]',
        "Id.{} in host.found()",
        "== Id.{}]",
        '"{}"),',
        '"{}", "SEVERITY',
        "ERROR    {}  ",
        'f"{}  {{B}}"',
    )  # in which tests name what they wait for
    asserted = {name for name in Id if any(way.format(name) in text for way in ways)}
    assert set(Id) - asserted == set(INJECTED)


def test_every_state_is_there() -> None:
    rows = re.findall(r"^\| (backend|drain) \| ([A-Z_]+) \| (.+?\.) \| (.+?\.) \|$", TEXT, re.M)
    assert [name for of, name, _, _ in rows if of == "backend"] == [state.name for state in AdminState]
    assert [name for of, name, _, _ in rows if of == "drain"] == [result.name for result in DrainResult]


def test_every_warning_is_there() -> None:
    assert {row[0] for row in WARNINGS} == set(told()) - set(Id)
    assert len(WARNINGS) > 5


@pytest.mark.parametrize("row", [*((r[0], *r[2:]) for r in FINDINGS), *WARNINGS], ids=lambda row: row[0])
def test_each_says_what_it_means_and_what_to_do(row: tuple[str, str, str]) -> None:
    assert len(row[1].split()) >= 8
    assert row[1].endswith(".")
    assert row[2].endswith((".", "?"))


def test_each_severity_is_one_that_the_code_gives() -> None:
    code = "".join(path.read_text() for path in python_files("agent/l4lb_agent/model/doctor"))
    assert {word for row in FINDINGS for word in row[1].split(", ")} <= {severity.name for severity in Severity}
    assert {name for name in Id if f"Id.{name}" not in code} == set()
