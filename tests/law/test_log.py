"""Every line that the agent logs names its event and its fields in a template: nothing that came from outside makes a field or a line."""

import ast
import re
from collections.abc import Iterator

from tests.law.python_rules import ROOT, python_files

CALLS = {"debug", "info", "warning", "error", "exception", "critical"}
# Text from outside is %r, which has no line break and no quote that ends it; %s is for what the agent chose: names, numbers, addresses.
TEMPLATE = re.compile(r"event=[a-z_]+( [a-z_]+=(%[sdr]|[a-z]+|'[^'\n]*'))*")
MADE = {"api/audit.py"}  # whose template is made of the names of its fields


def templates(source: str) -> Iterator[tuple[int, str, int]]:
    """Line, template ("" when it is no literal) and number of values of each call."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in CALLS:
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "_log":
            first = node.args[0]
            yield node.lineno, str(first.value) if isinstance(first, ast.Constant) else "", len(node.args) - 1


def violations(source: str) -> list[str]:
    found = []
    for number, template, values in templates(source):
        if not TEMPLATE.fullmatch(template):
            found.append(f"line {number}: {template!r} is no event with fields")
        elif template.count("%") != values:
            found.append(f"line {number}: {template!r} has not {values} values")
    return found


def test_every_call_is_an_event_with_fields() -> None:
    paths = python_files("agent/l4lb_agent")
    found = {str(path.relative_to(ROOT / "agent/l4lb_agent")): violations(path.read_text()) for path in paths}
    made = {name for name, lines in found.items() if lines and all("''" in line for line in lines)}
    assert made <= MADE
    assert {name: lines for name, lines in found.items() if lines and name not in MADE} == {}


def test_the_page_on_operations_tells_of_events_that_there_are() -> None:
    page = (ROOT / "docs/operations.md").read_text().partition("## The log")[2]
    told = {name for row in re.findall(r"(?m)^\| (`[^|]*`) \|", page) for name in re.findall(r"`(\w+)`", row)}
    there = {name for path in python_files("agent/l4lb_agent") for name in re.findall(r"event=([a-z_]+)", path.read_text())}
    assert told
    assert told <= there


def test_the_rule_finds_what_breaks_it() -> None:
    for call in ('f"event=x {y}"', '"text"', '"event=x y=%s z", 1', '"event=x y=%s"', '"event=x", 1'):
        assert violations(f"_log.info({call})"), call
    assert violations("_log.info(\"event=x y=%s why='so it is' z=none\", 1)") == []
