"""One laboratory with a booted machine as its load balancer, and the agent installed there."""

import subprocess
from collections.abc import Iterator

import pytest

from lab.laboratory import Laboratory
from tests.systemd.machine import ROOT, Machine
from tests.systemd.unit import Unit


@pytest.fixture(scope="session")
def systems() -> None:
    """The files that machines boot from, made on first use."""
    subprocess.run([str(ROOT / "scripts/machine")], check=True, timeout=1800)


@pytest.fixture(scope="module")
def unit(systems: None) -> Iterator[Unit]:
    """A machine of the module's own, with the agent installed by scripts/install and configured, not started."""
    with Laboratory() as lab:
        machine = Machine(lab)
        try:
            unit = Unit(lab, machine)
            unit.install()
            unit.configure()
            yield unit
        finally:
            machine.close()


@pytest.fixture
def started(unit: Unit) -> Unit:
    """The same, running and READY."""
    unit.configure()
    unit.machine.run("systemctl", "reset-failed", check=False)
    unit.systemctl("start")
    return unit
