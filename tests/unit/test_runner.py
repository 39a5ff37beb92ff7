"""The test runner: what it calls green."""

from pathlib import Path

import pytest

from tests import runner

REPORT = """<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_one"/>
<testcase classname="tests.unit.test_a" name="test_two"><skipped message="no tun device"/></testcase>
{more}
</testsuite></testsuites>"""


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/allowed_skips").write_text("# comment\ntests.unit.test_a.test_t* no tun\n")
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    return tmp_path / "report.xml"


def test_an_expected_skip_is_green(report: Path) -> None:
    report.write_text(REPORT.format(more=""))
    result = runner.read_reports("unit", [report], 1.0, 0)
    assert result == runner.Result("unit", 1, 0, 1, (), 1.0)
    assert result.ok


def test_a_skip_with_another_reason_or_name_is_not(report: Path) -> None:
    report.write_text(REPORT.format(more='<testcase classname="x" name="y"><skipped message="no tun device"/></testcase>'))
    result = runner.read_reports("unit", [report], 1.0, 0)
    assert result.refused_skips == ("x.y: no tun device",)
    assert not result.ok


def test_a_kind_without_tests_is_not_green(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = runner.read_reports("unit", [], 1.0, 5)
    assert not result.ok
    assert runner.summary([result]) == 1
    assert capsys.readouterr().out.rstrip().endswith("0 passed, 1 failed, 0 skipped")


def test_a_pytest_that_crashed_counts_as_failure(report: Path) -> None:
    report.write_text(REPORT.format(more=""))
    assert runner.read_reports("unit", [report], 1.0, 2).failed == 1


def test_failures_and_errors_are_counted(report: Path) -> None:
    more = '<testcase classname="x" name="y"><failure/></testcase><testcase classname="x" name="z"><error/></testcase>'
    report.write_text(REPORT.format(more=more))
    assert runner.read_reports("unit", [report], 1.0, 1).failed == 2


def test_all_kinds_run_once_also_those_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run_kind(kind: str, _extra: list[str], later: bool = False) -> runner.Result:
        assert later == any(kind in lane for lane in runner.BESIDE)
        ran.append(kind)
        return runner.Result(kind, 1, 0, 0, (), 1.0)

    monkeypatch.setattr(runner, "run_kind", run_kind)
    assert [result.kind for result in runner.run_all([])] == list(runner.KINDS)
    assert sorted(ran) == sorted(runner.KINDS)
