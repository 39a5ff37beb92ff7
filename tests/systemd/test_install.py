"""scripts/install and scripts/uninstall on a machine of their own: what they put in place, an upgrade under load, and what stays."""

import gzip
import re
import subprocess
from pathlib import Path

import pytest

from lab.laboratory import Laboratory
from lab.services import identities
from tests.systemd.machine import ROOT, Machine
from tests.systemd.unit import Unit

pytestmark = pytest.mark.timeout(1800)

RATE = 100  # new connections a second


def test_uninstalling_takes_everything_away_that_installing_and_running_has_made(systems: None) -> None:
    with Laboratory() as lab:
        machine = Machine(lab)
        try:
            unit = Unit(lab, machine)
            machine.run("mkdir", "-p", "/etc/sysctl.d")
            before = (machine.files(), users(machine), sysctls(machine))
            unit.install()
            unit.configure()
            unit.systemctl("enable", "--now")
            with unit.client() as client:
                vips = unit.balanced(client).vips()
            assert lab.traffic.counted(vips, 20, "installed")["failed"] == 0
            machine.run("/opt/l4lb/scripts/uninstall", "--purge")
            assert unit.show("LoadState") == "not-found"
            gone = lab.traffic.counted(vips, 4, "uninstalled", patience=2.0)
            assert gone["failed"] == gone["requests"]
            assert (machine.files() - before[0], before[0] - machine.files()) == (set(), set())
            assert (users(machine), sysctls(machine)) == before[1:]
        finally:
            machine.close()


def test_the_readmes_block_works_as_it_is_written(systems: None) -> None:
    """With the example's own interface and addresses, nothing edited."""
    [block] = [text for text in re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL) if "systemctl start" in text]
    assert block.count("\n") == 5
    with Laboratory() as lab:
        machine = Machine(lab)
        try:
            assert not machine.path("/usr/bin/l4lbctl").exists()
            shown = machine.run("bash", "-e", "-c", f"cd /opt/l4lb; {block}", L4LB_CACHE="/opt/cache")
            assert re.search(r"^READY +yes$", shown, re.MULTILINE), shown
            assert re.search(r"^eth0 +NATIVE ", shown, re.MULTILINE), shown
        finally:
            machine.close()


def users(machine: Machine) -> str:
    return machine.run("sh", "-c", "getent passwd; getent group")


def sysctls(machine: Machine) -> str:
    """What decides about forwarding, of every interface."""
    return machine.run("sh", "-c", "cd /proc/sys/net && grep -r . ipv4/conf/*/forwarding ipv6/conf/*/forwarding ipv6/conf/*/accept_ra")


def test_without_purge_the_configuration_and_the_journal_stay_and_the_next_installation_goes_on_with_them(unit: Unit) -> None:
    unit.systemctl("start")
    with unit.client() as client:
        vips = unit.balanced(client).vips()
        names = [backend.name for backend in client.list_backends()]
    configuration = unit.machine.path("/etc/l4lb/agent.toml")
    text = configuration.read_text()
    configuration.write_text("broken")
    unit.machine.run("/opt/l4lb/scripts/uninstall")
    configuration.write_text(text)
    assert not unit.machine.path("/sys/fs/bpf/l4lb").exists()
    unit.install()
    unit.systemctl("start")
    with unit.client() as client:
        assert [backend.name for backend in client.list_backends()] == names
    assert unit.lab.traffic.counted(vips, 20, "reinstalled")["failed"] == 0


def test_installing_again_under_load_restarts_the_agent_and_loses_nothing(unit: Unit) -> None:
    unit.systemctl("start")
    with unit.client() as client:
        vips, known = unit.balanced(client).vips(), identities(client.agent())
    pid = unit.pid
    stale = unit.machine.path("/usr/lib/l4lb/python/l4lb_agent/no_longer.py")
    stale.write_text("")
    load = unit.lab.traffic.constant(vips, RATE, "upgraded")
    unit.install()
    info = unit.wait_ready()
    result = load.result()
    assert unit.pid != pid
    assert (result["failed"], result["errors"]) == (0, {})
    assert identities(info) == known
    assert not stale.exists()


def test_completion_completes(unit: Unit) -> None:
    script = """
        . /usr/share/bash-completion/completions/l4lb-agent
        COMP_WORDS=(l4lb-agent det) COMP_CWORD=1; _l4lb_agent; echo "${COMPREPLY[@]}"
    """
    assert unit.machine.run("bash", "-c", script).strip() == "detach"
    offered = unit.machine.run("l4lbctl", _L4LBCTL_COMPLETE="bash_complete", COMP_WORDS="l4lbctl back", COMP_CWORD="1")
    assert "backend" in offered
    assert "_L4LBCTL_COMPLETE" in unit.machine.path("/usr/share/bash-completion/completions/l4lbctl").read_text()


def test_man_pages_say_what_the_commands_say(unit: Unit) -> None:
    pages = {path.name: gzip.decompress(path.read_bytes()).decode() for path in unit.machine.path("/usr/share/man").glob("man*/*l4lb*")}
    pages |= {"agent.toml": gzip.decompress(unit.machine.path("/usr/share/man/man5/agent.toml.5.gz").read_bytes()).decode()}
    assert sorted(pages) == ["agent.toml", "l4lb-agent.8.gz", "l4lbctl.1.gz"]
    for option in set(re.findall(r"--[a-z-]+|(?<=[{,])[a-z]+(?=[,}])", unit.machine.run("l4lb-agent", "--help"))):
        assert option.replace("-", "\\-") in pages["l4lb-agent.8.gz"], option
    for command in re.findall(r"^  ([a-z]+) ", unit.machine.run("l4lbctl", "--help").split("Commands:")[1], re.MULTILINE):
        assert f".SS l4lbctl {command}" in pages["l4lbctl.1.gz"], command
    for setting in re.findall(r"^#?([a-z_0-9]+) = ", (ROOT / "systemd/agent.toml.example").read_text(), re.MULTILINE):
        assert f"{setting} =" in pages["agent.toml"]


def test_below_a_folder_nothing_else_is_touched_and_the_manifest_is_complete(tmp_path: Path) -> None:
    subprocess.run([str(ROOT / "scripts/install"), str(tmp_path)], check=True, timeout=600)
    listed = set((tmp_path / "usr/lib/l4lb/manifest").read_text().split("\n")) - {""}
    found = {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if not path.is_dir()}
    assert found == listed
    subprocess.run([str(ROOT / "scripts/uninstall"), str(tmp_path)], check=True, timeout=60)
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []
