"""The command line and the log, as far as they go without root."""

import io
import logging
import threading
from pathlib import Path

import pytest

from l4lb_agent import __version__
from l4lb_agent.__main__ import main
from l4lb_agent.system import log


def test_a_bad_configuration_ends_with_status_2_and_every_field_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('[[interface]]\nname = "eth0"\nmode = "fast"\n[sizes]\nflow = 1\n')
    for arguments in (["--config", str(path)], ["detach", "--config", str(path)], ["--config", str(path), "detach"]):
        assert main(arguments) == 2
        said = capsys.readouterr().err.splitlines()
        assert [line.split(": ")[2] for line in said] == ["interface[0].mode", "sizes.flow"]


@pytest.mark.parametrize("line", ["run --fix", "detach --json", "forwarding --yes", "doctor --json --fix"])
def test_flags_of_the_doctor_change_nothing_elsewhere(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    assert "--fix" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"l4lb-agent {__version__}\n"


@pytest.fixture
def root_logger() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("root_logger")
def test_log_lines_are_keys_and_values_and_each_event_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    lines = log.start("info")
    logging.getLogger("l4lb_agent.control.store").warning("event=tried attempt=%d error=%r", 2, "no\nspace")
    logging.getLogger("elsewhere").error("free text\nin two lines")
    logging.getLogger("elsewhere").debug("event=hidden")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("elsewhere").exception("event=crashed")
    lines.drain(20)
    found = written.getvalue().splitlines()
    assert len(found) == 3
    assert found[0].endswith(r"level=warning part=control.store event=tried attempt=2 error='no\nspace'")
    assert found[1].endswith(r"message='free text\nin two lines'")
    assert "ValueError: why" in found[2]


@pytest.mark.usefixtures("root_logger")
def test_a_reader_that_has_stopped_does_not_stop_whoever_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = threading.Event()
    written: list[str] = []

    class Stopped(io.StringIO):
        def write(self, text: str) -> int:
            reads.wait(60)
            written.append(text)
            return len(text)

    monkeypatch.setattr("sys.stderr", Stopped())
    lines = log.start("info")
    for number in range(2 * log.WAITING):
        logging.getLogger("l4lb_agent").info("event=busy number=%d", number)
    reads.set()
    lines.drain(30)
    logging.getLogger("l4lb_agent").info("event=after")
    lines.drain(30)
    assert log.WAITING <= len(written) < 2 * log.WAITING
    assert any("event=log_lines_lost" in line for line in written)
