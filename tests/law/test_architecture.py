"""docs/architecture.md shows what there is: its pictures and its table of rooms are read here, and compared with the sources."""

import ast
import re
from dataclasses import dataclass

import pytest

from tests.law import c_calls
from tests.law.python_rules import ROOT

TEXT = (ROOT / "docs/architecture.md").read_text()
AGENT = ROOT / "agent/l4lb_agent"
LINE = re.compile(r"^( *)(?:(\w+): )?(\w+)\(\) +(\w+\.h)\b *(.*)$")


def picture(title: str) -> list[str]:
    """Lines of the drawing under a heading."""
    section = TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return section.split("```")[1].splitlines()[1:]


@dataclass(frozen=True)
class Step:
    """A line of the packet's picture: a function, who calls it (the program for the first), what else it says."""

    program: str
    caller: str
    function: str
    file: str
    words: str

    @property
    def tails(self) -> set[str]:
        """Programs that it names behind an arrow."""
        return {name for arrow in re.findall(r"=> ([\w ]+)", self.words) for name in arrow.split(" if ")[0].split()}

    @property
    def maps(self) -> set[str]:
        """In brackets."""
        return {name for names in re.findall(r"\[([\w ]+)\]", self.words) for name in names.split()}


def steps() -> list[Step]:
    """The packet's picture."""
    found: list[Step] = []
    above: list[tuple[int, str]] = []
    program = ""
    for line in picture("A packet"):
        if not line:
            continue
        match = LINE.match(line)
        assert match, f"{line!r} is no step"
        indent, name, function, file, words = match.groups()
        program = name or program
        while above and (name or above[-1][0] >= len(indent)):
            above.pop()
        found.append(Step(program, above[-1][1] if above else program, function, file, words))
        above.append((len(indent), function))
    return found


STEPS = steps()


def test_every_program_has_its_part_and_the_hot_one_comes_first() -> None:
    firsts = [step.program for step in STEPS if step.caller == step.program]
    assert sorted(firsts) == sorted(c_calls.programs())
    assert firsts[0] == c_calls.programs()[0]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.program}-{step.function}")
def test_a_function_is_where_the_picture_says_and_called_by_whom_it_says(step: Step) -> None:
    assert c_calls.functions()[step.function].file == step.file
    assert step.function in c_calls.reached(step.caller)
    assert step.maps <= c_calls.maps_of(step.function)
    assert step.tails <= c_calls.tails_of(step.function)


@pytest.mark.parametrize("program", c_calls.programs())
def test_tail_calls_are_those_of_the_program(program: str) -> None:
    """All of them end in `tags` or capture, which the text below says."""
    shown = {tail for step in STEPS if step.program == program for tail in step.tails}
    assert shown == c_calls.tails_of(program) - {"capture", "tags"}


def test_what_is_said_of_the_end_of_all_programs_holds() -> None:
    ending = {name for name in c_calls.programs() if "finish" in c_calls.reached(name)}
    assert ending == set(c_calls.programs()) - {"capture", "probe", "sweep", "tags"}
    assert "leave" in c_calls.reached("tags")
    assert (c_calls.tails_of("finish"), c_calls.tails_of("leave")) == ({"capture", "tags"}, {"capture"})
    assert {c_calls.functions()[name].file for name in ("finish", "leave")} == {"finish.h"}
    assert "Each but `capture`, `probe`, `sweep` and `tags` ends in `finish()` (finish.h)" in TEXT


def test_every_map_is_in_the_picture_or_below_it() -> None:
    below = set(re.findall(r"`(\w+)`", TEXT.partition("Each but `capture`")[2].partition("docs/packet-path.md")[0]))
    shown = {name for step in STEPS for name in step.maps}
    assert c_calls.maps() - shown - below == set()
    assert shown <= c_calls.maps()


def test_files_and_functions_of_the_call_s_picture_are_there() -> None:
    lines = picture("A call")
    files = {name for line in lines for name in re.findall(r"\b[\w/]+\.py\b", line)}
    folders = {name for line in lines for name in re.findall(r"\b([\w/]+/)(?=[ ,)]|$)", line)}
    assert len(files) >= 6
    assert len(folders) >= 2
    assert [name for name in files if not (AGENT / name).is_file()] == []
    assert [name for name in folders if not (AGENT / name).is_dir()] == []
    for line in lines:
        for function in re.findall(r"\b(\w+)\(\)", line):
            [file] = re.findall(r"\b[\w/]+\.py\b", line)
            tree = ast.parse((AGENT / file).read_text())
            names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert function in names, line


def test_the_rooms_are_the_folders_that_there_are() -> None:
    table = TEXT.partition("## Rooms")[2].partition("\n## ")[0]
    cells = re.findall(r"(?m)^\| (`.+?) \|", table)
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    assert {name for name in named if not (ROOT / name).exists() and not (AGENT / name).exists()} == set()
    rooms = {
        f"agent/l4lb_agent/{path.name}{'/' if path.is_dir() else ''}" for path in AGENT.iterdir() if not path.name.startswith("__init__")
    }
    beside = {f"agent/l4lb_agent/{name}" for name in named if name.endswith(".py") and "/" not in name}
    assert rooms - {"agent/l4lb_agent/bpf/", "agent/l4lb_agent/bpf"} == {name for name in named if name.startswith("agent/")} | beside
    made = {
        line.strip().removeprefix("/") for line in (ROOT / ".gitignore").read_text().splitlines()
    }  # what commands leave here, scripts/bench for one
    tops = {f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))} - made
    assert tops <= {f"{name.split('/')[0]}/" for name in named}


def test_the_kinds_of_tests_are_those_that_there_are() -> None:
    [row] = re.findall(r"(?m)^\| `tests/` \| (.+) \|$", TEXT)
    there = {
        path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and not path.name.startswith(("_", ".")) and path.name != "fakes"
    }
    assert set(re.findall(r"\w+", row)) == there
