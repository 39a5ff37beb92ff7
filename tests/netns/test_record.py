"""The flight recorder of a real agent: drops as tshark and tcpdump read them, what happened, and the files it writes by itself."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from l4lb.cli.main import cli
from lab.agent import UID
from lab.services import Balanced
from tests import readers
from tests.netns.conftest import set_up
from tests.netns.test_changes import eventually


def refused(web: Balanced, port: int = 81) -> None:
    """Connections that are dropped, to a port without a service."""
    web.lab.traffic.counted([web.lab.topology.vip().v4], 2, "refused", port=port)


def dumped(web: Balanced, folder: Path) -> dict[str, Any]:
    """The timeline of a dump that l4lbctl has unpacked into `folder`."""
    done = CliRunner().invoke(cli, ["-s", web.agent.target, "record", "dump", "-w", f"{folder}/"])
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads((folder / "timeline.json").read_text())
    return told


def files(web: Balanced, why: str) -> list[Path]:
    """Those that the agent wrote by itself."""
    return sorted((web.agent.state_dir / "records").glob(f"record-*-{why}.tar.gz"))


def unpacked(path: Path, folder: Path) -> dict[str, Any]:
    """The timeline of a file."""
    subprocess.run(["tar", "-xzf", path, "-C", folder], check=True, timeout=30)
    told: dict[str, Any] = json.loads((folder / "timeline.json").read_text())
    return told


def drops(told: dict[str, Any], reason: str) -> dict[str, Any]:
    return next((one for one in told["drops"] if one["reason"] == reason), {})


def test_drops_and_what_happened_are_there_without_anybody_having_asked_before(web: Balanced, tmp_path: Path) -> None:
    vip, began = web.lab.topology.vip().v4, time.time()
    refused(web)
    told = dumped(web, tmp_path)
    assert drops(told, "NO_SERVICE")["in_file"] >= 2
    frames = [one for one in readers.tshark(tmp_path / "drops.pcapng") if one.comment == "verdict=DROP reason=NO_SERVICE"]
    assert len(frames) == drops(told, "NO_SERVICE")["in_file"]
    assert {(one.direction, one.protocols) for one in frames} == {("Inbound", "eth:ethertype:ip:tcp")}
    assert {one.interface for one in frames} <= set(web.lab.topology.interfaces())
    assert all(began - 1 < one.time < time.time() + 1 for one in frames)
    assert any(f" > {vip}.81: Flags [S]" in line for line in readers.tcpdump(tmp_path / "drops.pcapng"))
    events = {one["event"] for one in told["events"]}
    assert {"attached", "audit", "reconciled", "next_hop_found", "ready"} <= events
    added = [one["fields"] for one in told["events"] if one["event"] == "audit" and one["fields"]["rpc"] == "AddBackend"]
    assert len(added) == 4
    assert told["agent"]["ready"]
    assert {one["mode"] for one in told["agent"]["interfaces"]} == {"native"}


def test_what_an_agent_knew_when_it_was_told_to_stop_is_in_a_file(web: Balanced, tmp_path: Path) -> None:
    refused(web)
    web.agent.stop()
    [path] = files(web, "*")
    assert path.name.endswith("-stopped.tar.gz")
    assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o600, UID)
    told = unpacked(path, tmp_path)
    assert told["why"] == "stopped"
    assert drops(told, "NO_SERVICE")["in_file"] >= 2
    assert len(readers.tshark(tmp_path / "drops.pcapng")) >= 2
    web.agent.start()
    web.agent.wait_ready(web.client)
    web.agent.stop()
    assert files(web, "*") != [path], "of stops the newest alone is kept"
    assert len(files(web, "*")) == 1


def lose_the_journal(web: Balanced) -> None:
    """The next change finds that somebody has removed it, and mends that."""
    (web.agent.state_dir / "journal").unlink()
    web.client.update_backend("web4/a", weight=7)


def test_a_guard_that_trips_writes_a_file(web: Balanced, tmp_path: Path) -> None:
    refused(web)
    lose_the_journal(web)
    assert eventually(lambda: files(web, "journal_failed"))
    told = unpacked(files(web, "journal_failed")[0], tmp_path)
    assert told["why"] == "journal_failed"
    [failed] = [one for one in told["events"] if one["event"] == "journal_failed"]
    assert "removed" in failed["fields"]["error"]
    after = [one["event"] for one in told["events"] if one["time"] >= failed["time"]]
    assert "audit" in after, "the change that found it, which was made all the same, belongs to it"
    assert drops(told, "NO_SERVICE")["in_file"] >= 2
    [one] = [one for one in web.client.list_dumps() if one.cause == "journal_failed"]
    assert one.create_time.ToJsonString().replace("-", "").replace(":", "") in files(web, "journal_failed")[0].name
    done = CliRunner().invoke(cli, ["-s", web.agent.target, "record", "get", one.name, "-w", "-"])
    assert done.stdout_bytes == files(web, "journal_failed")[0].read_bytes()
    assert one.bytes == len(done.stdout_bytes)


@contextmanager
def small(folder: Path) -> Iterator[None]:
    """A disk that is full after one page."""
    folder.mkdir()
    os.chown(folder, UID, UID)
    options = f"size=4k,uid={UID},gid={UID},mode=0750"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)


def test_a_full_disk_costs_the_file_alone(web: Balanced, tmp_path: Path) -> None:
    records = web.agent.state_dir / "records"
    with small(records):
        (records / "filler").write_bytes(bytes(4096))
        lose_the_journal(web)
        assert eventually(lambda: "event=record_failed why=journal_failed" in web.agent.log())
        assert [path.name for path in records.iterdir()] == ["filler"]
        assert web.client.get_backend("web4/a").weight == 7
        assert dumped(web, tmp_path)["why"] == "asked"
        web.lab.traffic.counted(web.vips(), 4, "still forwarded")
    web.agent.stop()
    assert len(files(web, "stopped")) == 1


def test_an_agent_that_is_killed_leaves_no_recorder_behind(web: Balanced, tmp_path: Path) -> None:
    """The next one finds the drops that were on the way to the one before, and goes on."""
    refused(web)
    web.agent.kill()
    assert files(web, "*") == []
    refused(web, 82)
    web.agent.start()
    web.agent.wait_ready(web.client)
    refused(web, 83)

    def seen(port: int) -> bool:
        dumped(web, tmp_path)
        return any(f".{port}: Flags [S]" in line for line in readers.tcpdump(tmp_path / "drops.pcapng"))

    assert eventually(lambda: seen(83))


def test_an_agent_that_does_not_record_says_so_and_writes_nothing() -> None:
    with set_up(more="[recorder]\nenabled = false\n") as made:
        made.add_web()
        refused(made)
        done = CliRunner().invoke(cli, ["-s", made.agent.target, "record", "dump", "-w", "-"])
        assert done.exit_code == 1
        assert "RECORDER_OFF" in done.output
        lose_the_journal(made)
        made.agent.stop()
        assert not (made.agent.state_dir / "records").exists()
