"""bpf/, and what the laboratory has of the kind, keep their rules; and the rules see what breaks them."""

import re
from pathlib import Path

import pytest

from tests.law.c_rules import SPDX, functions, violations
from tests.law.python_rules import ROOT

BPF = ROOT / "bpf"
OURS = sorted(path for path in BPF.glob("*.[ch]"))
LAB = sorted((ROOT / "lab").rglob("*.c"))
STUBS = sorted((BPF / "stubs").rglob("*.h"))
GOOD = f"{SPDX}\n#ifndef L4LB_X_H\n#define L4LB_X_H\n\nstatic __always_inline int f(int a)\n{{\n\treturn a;\n}}\n\n#endif\n"


@pytest.mark.parametrize("path", [*OURS, *LAB], ids=lambda path: path.name)
def test_a_file_of_the_datapath_keeps_the_rules(path: Path) -> None:
    assert violations(path.name, path.read_text()) == []


@pytest.mark.parametrize("path", STUBS, ids=lambda path: path.name)
def test_a_stub_header_says_its_licence_and_what_it_is_for(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == SPDX
    assert lines[1].startswith("/* ") or path.name == "page.h"


def test_every_header_is_included_once_by_the_one_source() -> None:
    included = re.findall(r'^#include "(.*)"', (BPF / "l4lb.c").read_text(), re.M)
    assert sorted(included) == sorted(path.name for path in OURS if path.suffix == ".h")


def test_the_functions_of_the_datapath_are_all_seen() -> None:
    """Each `}` in the first column closes a function, a structure or an enumeration."""
    for path in (*OURS, *LAB):
        source = path.read_text()
        assert len(list(functions(source))) == source.splitlines().count("}"), path.name


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("/* SPDX", "/* spdx"), "SPDX"),
        (("return a;", "return a;\n" * 70), "has 7"),
        (("static __always_inline ", "static "), "not static __always_inline"),
        (("return a;", "return a; /* " + "x" * 140 + " */"), "columns"),
        (("return a;", "return a; "), "ends with a space"),
        (("return a;", "bpf_trace_printk(a);"), "bpf_trace_printk"),
        (("\n\nstatic", "\n#include <linux/ip.h>\nstatic"), "no system header"),
        (("\n\nstatic", '\n#include "hash.h"\nstatic'), "says the order"),
        (("#ifndef L4LB_X_H", "#ifndef X_H"), "no guard"),
        (("return a;", "return flows.lookup(&a);"), "accesses a map"),
        (("return a;", "\n" * 300), "lines, more than 300"),
    ],
)
def test_each_rule_sees_what_breaks_it(change: tuple[str, str], found: str) -> None:
    assert violations("x.h", GOOD) == []
    assert any(found in violation for violation in violations("x.h", GOOD.replace(*change)))
