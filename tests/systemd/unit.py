"""The installed agent in a machine: its unit's properties, its journal, a client of it."""

import l4lb
from l4lb.v1.agent_pb2 import Agent as AgentInfo
from lab.laboratory import Laboratory
from tests.systemd.machine import Machine, wait

UNIT = "l4lb-agent.service"


class Unit:
    """l4lb-agent.service in `machine`, which is the load balancer of `lab`."""

    def __init__(self, lab: Laboratory, machine: Machine) -> None:
        self.lab, self.machine = lab, machine

    def install(self) -> None:
        """As the README says."""
        self.machine.run("/opt/l4lb/scripts/install", L4LB_CACHE="/opt/cache")

    def configure(self, *, interfaces: tuple[str, ...] = ("eth0",), more: str = "") -> None:
        """Writes agent.toml for the laboratory's topology, and sets forwarding for it."""
        snat = self.lab.topology.snat()
        text = f'[datapath]\nsnat = ["{snat.v4}", "{snat.v6}"]\n{more}'
        text += "".join(f'\n[[interface]]\nname = "{interface}"\n' for interface in interfaces)
        self.machine.path("/etc/l4lb/agent.toml").write_text(text)
        self.machine.run("/usr/lib/l4lb/forwarding", "on")

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """`systemctl ARGUMENTS l4lb-agent.service`."""
        return self.machine.run("systemctl", *arguments, UNIT, check=check)

    def show(self, name: str) -> str:
        """One property, systemctl(1)."""
        return self.machine.run("systemctl", "show", "--property", name, "--value", UNIT).strip()

    @property
    def pid(self) -> int:
        """Of the main process, as this process sees it."""
        inside = self.show("MainPID")
        listed = self.machine.path(f"/proc/{inside}/status")
        assert listed.exists(), "it does not run"
        cgroup = self.machine.path(f"/proc/{inside}/cgroup").read_text()
        return _outer(int(inside), cgroup)

    def journal(self) -> str:
        """What it has logged."""
        return self.machine.run("journalctl", "--no-pager", "-o", "cat", "-u", UNIT)

    def client(self) -> l4lb.Client:
        """Through admin.sock."""
        return l4lb.Client(f"unix://{self.machine.path('/run/l4lb/admin.sock')}")

    def wait_ready(self) -> AgentInfo:
        """What it says of itself once it is READY."""
        with self.client() as client:
            wait(lambda: client.agent().ready, "it does not become ready")
            return client.agent()


def _outer(inside: int, cgroup: str) -> int:
    """The process id out here of process `inside` in the container, found by its own list of ids (NSpid in proc(5))."""
    from pathlib import Path

    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "status").read_text()
                same = (entry / "cgroup").read_text()
            except OSError:
                continue
            ids = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
            if len(ids) > 1 and int(ids[-1]) == inside and "l4lb-agent.service" in same:
                return int(ids[0])
    raise AssertionError(f"no process {inside} in {cgroup}")
