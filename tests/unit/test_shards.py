"""Sharing tests between processes: none is lost, none runs twice, a failure anywhere is a failure."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Every test waits until as many processes have begun one, else a fast one would run them all.
BEGIN = """
import os, pathlib, pytest, time

def ran():
    return os.listdir({folder!r})

def begin(name):
    pathlib.Path({folder!r}, f"{{name}}-{{os.getpid()}}").touch()
    while len({{name.split("-")[1] for name in ran()}}) < {processes}:
        time.sleep(0.01)

"""
SEVEN = (
    BEGIN
    + """
@pytest.mark.parametrize("number", range(7))
def test_it(number):
    begin(number)
    assert number != {failing}
"""
)
ONE_LASTS = (
    BEGIN
    + """
@pytest.mark.parametrize("number", range(7))
def test_it(number):
    begin(number)
    while number == 0 and len(ran()) < 6:
        time.sleep(0.01)
"""
)
TWO_LABORATORIES = (
    BEGIN
    + """
@pytest.fixture(scope="module", params=[0, 1])
def laboratory(request):
    return request.param

@pytest.mark.parametrize("number", range(7))
def test_it(laboratory, number):
    begin(f"{{laboratory}}{{number}}")
"""
)


def run(tmp_path: Path, failing: int, *arguments: str, count: str = "3", tests: str = SEVEN, processes: int = 1) -> tuple[int, list[str]]:
    """Exit status of all processes, and number-process of every test that ran."""
    ran = tmp_path / "ran"
    ran.mkdir()
    (tmp_path / "test_seven.py").write_text(tests.format(folder=str(ran), failing=failing, processes=processes))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "lab.shards", count, "-q", "-c", str(tmp_path / "pytest.ini"), str(tmp_path), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, sorted(path.name for path in ran.iterdir())


def test_every_test_runs_once_and_in_three_processes(tmp_path: Path) -> None:
    status, ran = run(tmp_path, -1, "--junitxml", str(tmp_path / "report-{share}.xml"), processes=3)
    assert status == 0
    assert [name.split("-")[0] for name in ran] == list("0123456")
    assert len({name.split("-")[1] for name in ran}) == 3
    assert sorted(path.name for path in tmp_path.glob("report-*")) == ["report-0.xml", "report-1.xml", "report-2.xml"]


def test_a_failure_in_any_process_fails_the_run(tmp_path: Path) -> None:
    status, ran = run(tmp_path, 4)
    assert status == 1
    assert len(ran) == 7


def test_fewer_tests_than_processes_is_no_failure_and_no_test_at_all_is_one(tmp_path: Path) -> None:
    assert run(tmp_path, -1, "-k", "3")[0] == 0
    (tmp_path / "ran").rename(tmp_path / "earlier")
    assert run(tmp_path, -1, "-k", "absent")[0] == 5


def test_of_more_shares_only_the_first_are_run(tmp_path: Path) -> None:
    status, ran = run(tmp_path, 2, count="2/4")
    assert (status, [name.split("-")[0] for name in ran]) == (0, ["0", "1", "4", "5"])


def test_while_a_test_lasts_the_others_are_run_by_the_other_process(tmp_path: Path) -> None:
    """But for the one that its own process has taken already."""
    status, ran = run(tmp_path, -1, count="2", tests=ONE_LASTS, processes=2)
    assert (status, [name.split("-")[0] for name in ran]) == (0, list("0123456"))


def test_tests_of_one_long_lived_fixture_stay_in_one_process(tmp_path: Path) -> None:
    status, ran = run(tmp_path, -1, count="2", tests=TWO_LABORATORIES, processes=2)
    assert (status, len(ran)) == (0, 14)
    assert [len({name.split("-")[1] for name in ran if name[0] == laboratory}) for laboratory in "01"] == [1, 1]
    assert len({name.split("-")[1] for name in ran}) == 2


def test_what_is_marked_is_run_whatever_is_dealt_and_once(tmp_path: Path) -> None:
    marked = SEVEN.replace("range(7)", "[0, 1, 2, 3, 4, 5, pytest.param(6, marks=pytest.mark.always)]")
    (tmp_path / "conftest.py").write_text("def pytest_configure(config):\n    config.addinivalue_line('markers', 'always: said')\n")
    status, ran = run(tmp_path, 2, count="2/4", tests=marked)
    assert (status, [name.split("-")[0] for name in ran]) == (0, ["0", "1", "4", "5", "6"])
