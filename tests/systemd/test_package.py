"""scripts/deb's package on a Debian 12 that has nothing installed: apt brings what it needs, upgrades and removes under load."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.laboratory import Laboratory
from lab.services import identities
from tests.systemd.machine import ROOT, Machine
from tests.systemd.unit import Unit

pytestmark = pytest.mark.timeout(1800)

RATE = 100  # new connections a second
NEXT = "9.9.9"


def build(folder: Path, version: str = "") -> Path:
    environment = os.environ | ({"L4LB_VERSION": version} if version else {})
    done = subprocess.run(
        [str(ROOT / "scripts/deb"), str(folder)], capture_output=True, text=True, timeout=900, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("deb"))


def apt(machine: Machine, *arguments: str) -> str:
    """apt without any network: what is needed lies in its archive folder."""
    return machine.run("apt-get", "-q", "-y", "-o", "Dir::Cache::archives=/var/lib/archives", *arguments, DEBIAN_FRONTEND="noninteractive")


@pytest.fixture(scope="module")
def clean(systems: None, package: Path) -> Iterator[Unit]:
    """A machine without Python, with the package's file on it."""
    with Laboratory() as lab:
        machine = Machine(lab, ("clean",))
        try:
            machine.run("cp", "-r", "/opt/archives", "/var/lib/archives")
            machine.path(f"/opt/{package.name}").write_bytes(package.read_bytes())
            yield Unit(lab, machine)
        finally:
            machine.close()


def test_the_package_installs_upgrades_and_goes_on_a_clean_debian_12(clean: Unit, package: Path, tmp_path: Path) -> None:
    machine = clean.machine
    assert not machine.path("/usr/bin/python3").exists()
    apt(machine, "install", "--no-install-recommends", f"/opt/{package.name}")
    assert machine.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "python3-bpfcc") == "installed"
    assert machine.run("dpkg", "--verify", "l4lb-agent") == ""
    listed = set(machine.path("/usr/lib/l4lb/manifest").read_text().split("\n")) - {""}
    packaged = {name for name in machine.run("dpkg", "-L", "l4lb-agent").splitlines() if not machine.path(name).is_dir()}
    assert listed - packaged == set()
    assert clean.show("ActiveState") == "inactive"
    clean.configure()
    clean.systemctl("enable", "--now")
    upgrade(clean, build(tmp_path, NEXT))
    removal(clean)


def upgrade(clean: Unit, newer: Path) -> None:
    """Under load: the agent is another process, everything in the kernel is the same, nothing is lost."""
    clean.machine.path(f"/opt/{newer.name}").write_bytes(newer.read_bytes())
    with clean.client() as client:
        vips, known, pid = clean.balanced(client).vips(), identities(client.agent()), clean.pid
    load = clean.lab.traffic.constant(vips, RATE, "upgrade")
    apt(clean.machine, "install", f"/opt/{newer.name}")
    info = clean.wait_ready()
    result = load.result()
    assert (result["failed"], result["errors"]) == (0, {})
    assert clean.pid != pid
    assert identities(info) == known
    assert info.map_writes == 0


def removal(clean: Unit) -> None:
    """Under load: the program is off its interfaces; the configuration stays until purged."""
    machine = clean.machine
    vips = [clean.lab.topology.vip().of(family) for family in (4, 6)]
    load = clean.lab.traffic.constant(vips, RATE, "removal")
    apt(machine, "remove", "l4lb-agent")
    load.kill()
    assert clean.show("LoadState") == "not-found"
    assert "xdp" not in machine.run("ip", "link", "show", "eth0")
    assert not machine.path("/sys/fs/bpf/l4lb").exists()
    assert not machine.path("/etc/sysctl.d/60-l4lb.conf").exists()
    assert machine.path("/etc/l4lb/agent.toml").exists()
    assert machine.path("/var/lib/l4lb").is_dir()
    apt(machine, "purge", "l4lb-agent")
    for name in ("/etc/l4lb", "/var/lib/l4lb", "/var/cache/l4lb-agent", "/usr/lib/l4lb", "/usr/bin/l4lb-agent"):
        assert not machine.path(name).exists(), name
