"""Every drop-in example does what it says, on top of the unit."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab import netns
from lab.certificates import Authority
from tests.systemd.machine import ROOT
from tests.systemd.unit import UNIT, Unit

pytestmark = pytest.mark.timeout(1800)

EXAMPLES = sorted(path.name.removesuffix(".conf.example") for path in (ROOT / "systemd/l4lb-agent.service.d").iterdir())
NET_RAW = 1 << 13
LISTEN = 7443


@contextmanager
def example(unit: Unit, name: str) -> Iterator[None]:
    """The unit with one of the installed examples, copied as its first lines say, and stopped."""
    unit.systemctl("stop")
    folder = unit.machine.path(f"/etc/systemd/system/{UNIT}.d")
    folder.mkdir(exist_ok=True)
    source = unit.machine.path(f"/usr/share/doc/l4lb-agent/l4lb-agent.service.d/{name}.conf.example")
    (folder / f"{name}.conf").write_text(source.read_text())
    unit.machine.run("systemctl", "daemon-reload")
    try:
        yield
    finally:
        unit.systemctl("stop")
        (folder / f"{name}.conf").unlink()
        unit.machine.run("systemctl", "daemon-reload")


def status(unit: Unit) -> dict[str, str]:
    lines = unit.machine.run("cat", f"/proc/{unit.show('MainPID')}/status").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "notify-reload"])
def test_an_example_is_understood_by_this_systemd(unit: Unit, name: str) -> None:
    """But for notify-reload, which is for newer ones."""
    with example(unit, name):
        assert unit.machine.run("sh", "-c", f"systemd-analyze verify --man=no {UNIT} 2>&1") == ""


def test_cpus_keeps_the_agent_on_the_named_ones(unit: Unit) -> None:
    with example(unit, "cpus"):
        unit.systemctl("start")
        assert status(unit)["Cpus_allowed_list"] == "0"


def test_root_runs_as_root_with_the_same_capabilities_and_adopts_the_same_pins(unit: Unit) -> None:
    unit.systemctl("start")
    links = unit.machine.run("find", "/sys/fs/bpf/l4lb/links")
    with example(unit, "root"):
        unit.systemctl("start")
        seen = status(unit)
        assert seen["Uid"].split() == ["0"] * 4
        assert int(seen["CapEff"], 16) == int(seen["CapBnd"], 16) == 1 << 12 | 1 << 38 | 1 << 39
        assert unit.wait_ready().map_writes == 0
        assert unit.machine.run("find", "/sys/fs/bpf/l4lb/links") == links
    unit.machine.run("systemd-tmpfiles", "--create", "l4lb.conf")
    unit.machine.run("chown", "-R", "l4lb:l4lb", "/sys/fs/bpf/l4lb")
    unit.systemctl("start")


def test_icmp_probes_adds_raw_sockets_and_nothing_else(unit: Unit) -> None:
    with example(unit, "icmp-probes"):
        unit.systemctl("start")
        assert int(status(unit)["CapEff"], 16) == 1 << 12 | 1 << 38 | 1 << 39 | NET_RAW


def test_credentials_hands_over_certificates_that_only_root_can_read(unit: Unit) -> None:
    address = unit.lab.topology.management("lb")
    authority = Authority(unit.lab.run.path / "pki")
    made, controller = authority.agent(address), authority.controller("viewer")
    folder = unit.machine.path("/etc/l4lb/tls")
    folder.mkdir(mode=0o700)
    for name, source in (("agent.pem", made.cert), ("agent.key", made.key), ("controllers.pem", authority.ca)):
        (folder / name).write_bytes(source.read_bytes())
        (folder / name).chmod(0o600)
    tls = f'[tls]\nlisten = "{address}:{LISTEN}"\ncert = "agent.pem"\nkey = "agent.key"\nclient_ca = "controllers.pem"\n'
    unit.configure(more=tls)
    with example(unit, "credentials"):
        unit.systemctl("start")
        files = f"ca='{authority.ca}', cert='{controller.cert}', key='{controller.key}'"
        script = f"import l4lb; print(l4lb.Client('{address}:{LISTEN}', {files}).agent().ready)"
        asked = netns.entering(unit.lab.namespace("controller"), [sys.executable, "-c", script])
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr
    unit.configure()
