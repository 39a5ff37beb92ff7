"""Ten faults, planted for real: each is found by two commands of someone who knows only `l4lbctl --help`, and cured by what was told."""

import pytest
from click.testing import CliRunner

from l4lb.cli.main import cli
from lab.faults.planted import FAULTS, Fault
from lab.faults.play import play


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_two_commands_tell_the_cause_and_what_they_say_cures_it(fault: Fault) -> None:
    played = play(fault)
    print("\n\n".join(played.transcript))
    assert played.missing == ()


def test_the_help_names_the_commands_that_were_used() -> None:
    text = CliRunner().invoke(cli, ["--help"]).output.partition("When something is wrong:")[2]
    assert text
    for fault in FAULTS:
        for command in (fault.first, fault.second):
            assert f"  l4lbctl {command.split()[0]} " in text, command
