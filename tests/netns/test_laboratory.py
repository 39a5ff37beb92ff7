"""The laboratory itself: what it makes, and that nothing of it stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import install, netns
from lab.footprint import Footprint, Host
from lab.laboratory import Laboratory

_STAY = "import sys; from lab.laboratory import Laboratory\nwith Laboratory() as lab:\n    print(lab.id, flush=True)\n    sys.stdin.read()"


def start_another() -> tuple[subprocess.Popen[str], str]:
    """A laboratory in another process, and its id."""
    process = subprocess.Popen([sys.executable, "-c", _STAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_backends_answer_both_families_and_log_every_request() -> None:
    with Laboratory() as lab:
        for name, nginx in lab.nginx.items():
            host = lab.topology.host(name)
            seen = lab.traffic.counted([host.v4, host.v6], 20, "direct")
            assert (seen["requests"], seen["failed"], seen["by_backend"]) == (40, 0, {nginx.name: 40})
            assert len(nginx.logged("direct")) == 40
        assert lab.traffic.tcp_counters().syn_retransmissions == 0


def test_a_strict_umask_of_the_caller_hides_nothing_from_those_who_are_not_root() -> None:
    before = os.umask(0o077)
    try:
        with Laboratory() as lab:
            assert lab.traffic.download(lab.topology.host("a").v4, "/bulk.bin", "strict").result()["sha256"] == lab.digests["bulk.bin"]
            assert lab.folder_for("readable", 0).stat().st_mode & 0o755 == 0o755
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)


def test_a_failed_request_is_counted_and_not_tried_again() -> None:
    with Laboratory() as lab:
        refused = lab.traffic.counted([lab.topology.host("a").v4], 10, "closed", port=81)
        assert (refused["requests"], refused["failed"], refused["by_backend"]) == (10, 10, {})


def test_a_moved_backend_is_reached_behind_a_router_too() -> None:
    with Laboratory(routed=True) as lab:
        lab.move("b", lab.topology.spare(), "02:00:00:00:00:77")
        spare = lab.topology.spare()
        seen = lab.traffic.counted([spare.v4, spare.v6], 3, "moved")
        assert seen["by_backend"] == {"backend-b": 6}
        assert lab.mac("b") == "02:00:00:00:00:77"


def test_nothing_is_left_and_the_root_namespace_is_never_touched() -> None:
    before = Host.read()
    with Laboratory() as lab:
        footprint = Footprint(lab.id)
        assert {line.split()[0] for line in footprint.left()} == {"namespace", "mount", "folder", "process"}
        assert before.changed(Host.read()) == []
    with footprint:
        assert footprint.left() == []
    assert before.changed(Host.read()) == []


def test_a_failure_while_it_is_built_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("as if ethtool were missing")

    monkeypatch.setattr("lab.offload.prepare", fail)
    lab = Laboratory()
    with pytest.raises(RuntimeError, match="as if ethtool"), lab:
        pass
    assert Footprint(lab.id).left() == []


def test_two_at_once_do_not_meet() -> None:
    with Laboratory() as one, Laboratory() as two:
        assert one.id != two.id
        address = one.topology.host("a").v4
        assert address == two.topology.host("a").v4
        one.traffic.counted([address], 5, "mine")
        assert [len(lab.nginx["a"].logged("mine")) for lab in (one, two)] == [5, 0]


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_of_a_living_one() -> None:
    dead, dead_id = start_another()
    living, living_id = start_another()
    with Footprint(dead_id) as of_dead, Footprint(living_id) as of_living:
        try:
            dead.kill()
            dead.communicate()
            assert of_dead.left(), "there is something to remove"
            with Laboratory():
                assert of_dead.left() == []
                assert len(netns.existing(f"l4lb-{living_id}-")) == 6
        finally:
            living.send_signal(signal.SIGINT)
            living.communicate()
        assert of_living.left() == []


def test_the_installed_copy_is_readable_for_everyone_and_made_once(tmp_path: Path) -> None:
    copy = install.installed(install.checkout(), tmp_path)
    assert copy.name.startswith("app-")
    for part in ("l4lb_agent/__init__.py", "l4lb_agent/bpf/types.h", "l4lb/__init__.py", "lab/__init__.py"):
        assert (copy / part).stat().st_mode & 0o444 == 0o444
    assert (copy / "l4lb_agent").stat().st_mode & 0o555 == 0o555
    made = (copy / "lab").stat().st_ctime_ns
    assert install.installed(install.checkout(), tmp_path) == copy
    assert (copy / "lab").stat().st_ctime_ns == made


def test_installed_copies_that_no_run_has_used_for_a_day_are_removed(tmp_path: Path) -> None:
    old, fresh = tmp_path / "app-0000000000000000", tmp_path / "app-1111111111111111"
    for folder in (old, fresh):
        folder.mkdir()
    os.utime(old, (1, 1))
    install.installed(install.checkout(), tmp_path)
    assert not old.exists()
    assert fresh.exists()
