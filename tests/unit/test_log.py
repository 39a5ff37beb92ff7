"""Log lines as fields: what the journal gets, and that nobody from outside can write some."""

import contextlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from l4lb_agent.system import journal, log
from l4lb_agent.system.journal import Journal


def record(template: str, *values: object, level: int = logging.INFO, name: str = "l4lb_agent.control.store") -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, template, values, None)


def test_fields_are_those_of_the_template_with_their_values_as_they_are() -> None:
    made = log.line(record("event=tried attempt=%d error=%r why='it must' forwarding=continues", 2, "no\nspace x=1"))
    assert made.text == r"event=tried attempt=2 error='no\nspace x=1' why='it must' forwarding=continues"
    assert {name: value for name, value in made.fields.items() if name.startswith("L4LB_")} == {
        "L4LB_PART": "control.store", "L4LB_EVENT": "tried", "L4LB_ATTEMPT": "2", "L4LB_ERROR": "no\nspace x=1", "L4LB_WHY": "it must",
        "L4LB_FORWARDING": "continues",
    }  # fmt: skip
    assert made.fields["MESSAGE"] == made.text
    assert made.fields["SYSLOG_IDENTIFIER"] == "l4lb-agent"


def test_a_value_makes_no_field_and_no_line() -> None:
    made = log.line(record("event=refused message=%r", "' event=audit who=forged\nL4LB_WHO=forged"))
    assert {name for name in made.fields if name.startswith("L4LB_")} == {"L4LB_PART", "L4LB_EVENT", "L4LB_MESSAGE"}
    sent = journal.encoded(made.fields)
    assert b"\nL4LB_MESSAGE\n" + len("' event=audit who=forged\nL4LB_WHO=forged").to_bytes(8, "little") in sent
    assert "\n" not in made.as_text()


def test_the_service_and_the_backend_of_a_resource_are_fields() -> None:
    of_backend = log.line(record("event=audit resource=%s", "services/web/backends/a")).fields
    assert (of_backend["L4LB_SERVICE"], of_backend["L4LB_BACKEND"]) == ("web", "a")
    of_drain = log.line(record("event=drain_ended backend=%s", "services/web/backends/a")).fields
    assert (of_drain["L4LB_SERVICE"], of_drain["L4LB_BACKEND"]) == ("web", "a")
    of_service = log.line(record("event=audit resource=%s", "services/web")).fields
    assert of_service["L4LB_SERVICE"] == "web"
    assert "L4LB_BACKEND" not in of_service
    assert "L4LB_SERVICE" not in log.line(record("event=audit resource=%r", "services/x\nL4LB_SERVICE=y")).fields


def test_levels_are_priorities_and_events_have_ids() -> None:
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
    assert [log.line(record("event=x", level=level)).fields["PRIORITY"] for level in levels] == ["7", "6", "4", "3", "2"]
    ids = {log.line(record(f"event={event}")).fields["MESSAGE_ID"] for event in ("x", "x", "y")}
    assert [len(one) for one in ids] == [32, 32]


def test_text_of_libraries_is_a_message_and_a_traceback_a_field() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        crashed = logging.LogRecord("elsewhere", logging.ERROR, "", 0, "free %s\ntext", ("x",), sys.exc_info())
    made = log.line(crashed)
    assert (made.fields["L4LB_EVENT"], made.fields["L4LB_MESSAGE"]) == ("message", "free x\ntext")
    assert "ValueError: why" in made.fields["L4LB_TRACEBACK"]
    assert "\n" not in made.as_text()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """What a journal listens on; its path is its name."""
    with tempfile.TemporaryDirectory(prefix="l4lb-log-") as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(f"{folder}/socket")
        made.settimeout(20)
        yield made


def test_the_journal_gets_one_datagram_for_each_line(listening: socket.socket) -> None:
    lines = log._Lines(Journal(listening.getsockname()))
    lines.emit(record("event=tried attempt=%d", 2))
    sent = listening.recv(65536).decode()
    assert sent.endswith("\n")
    assert dict(line.split("=", 1) for line in sent.splitlines())["L4LB_ATTEMPT"] == "2"
    lines.drain(20)


def test_what_is_too_long_for_a_datagram_is_shortened(listening: socket.socket) -> None:
    with contextlib.closing(Journal(listening.getsockname())) as made:
        made.send({"MESSAGE": "m" * 1_000_000, "PRIORITY": "6"})
    assert listening.recv(1 << 20) == b"MESSAGE=" + b"m" * journal.LONGEST + b"\nPRIORITY=6\n"


def test_while_there_is_no_journal_standard_error_gets_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = log._Lines(Journal(str(tmp_path / "none")))
    lines.emit(record("event=tried attempt=%d", 2))
    lines.drain(20)
    assert capsys.readouterr().err.endswith("level=info part=control.store event=tried attempt=2\n")


def test_standard_error_is_the_journal_only_when_it_is_the_one_that_was_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        found = os.fstat(stderr.fileno())
        assert journal.is_stderr({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not journal.is_stderr({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not journal.is_stderr({})
