"""What systemd reads explains itself, and the example configuration says everything that can be said."""

import re
from pathlib import Path

import pytest

from l4lb_agent import config
from tests.law.python_rules import ROOT

FOLDER = ROOT / "systemd"
FILES = [FOLDER / "l4lb-agent.service", *FOLDER.glob("l4lb-agent.service.d/*"), *FOLDER.glob("sysusers.d/*"), *FOLDER.glob("tmpfiles.d/*")]


def unexplained(text: str) -> list[str]:
    """Lines that say something without a comment directly above them."""
    lines = [""] + text.splitlines()
    said = re.compile(r"#?[A-Z][A-Za-z]+=|[a-z] ")
    return [line for above, line in zip(lines, lines[1:]) if said.match(line) and not re.match("# .", above) and not said.match(above)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_line_is_commented(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert unexplained(text) == []


def test_in_the_unit_no_line_shares_its_comment_with_another() -> None:
    lines = (FOLDER / "l4lb-agent.service").read_text().splitlines()
    assert [line for above, line in zip(lines, lines[1:]) if "=" in line and line[0].isupper() and not above.startswith("# ")] == []


def test_the_rule_finds_a_line_that_is_not_commented() -> None:
    assert unexplained("# why\nUser=l4lb\n\nGroup=l4lb\n") == ["Group=l4lb"]
    assert unexplained("[Service]\nUser=l4lb\n") == ["User=l4lb"]


def test_the_example_names_every_setting_with_its_default() -> None:
    text = (FOLDER / "agent.toml.example").read_text()
    shown = config.parse(re.sub(r"(?m)^#([a-z_0-9]+ = )", r"\1", text))
    plain = config.parse(text)
    assert shown == plain, "a default in the example is not the default"
    for name in config._flat(plain):
        key = name.split(".")[-1]
        assert re.search(rf"(?m)^(#? ?{key} ?= |(# )?\[+{key}\]+$)", text), f"{name} is not in the example"
