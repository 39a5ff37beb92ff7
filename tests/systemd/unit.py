"""The installed agent in a machine: its unit's properties, its journal, a client of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import l4lb
from l4lb.v1.agent_pb2 import Agent as AgentInfo
from lab.laboratory import Laboratory
from lab.services import Balanced
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
        return self.machine.outer(int(self.show("MainPID")))

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

    @contextmanager
    def drop_in(self, text: str) -> Iterator[None]:
        """With more lines for the unit's [Service]."""
        folder = self.machine.path(f"/etc/systemd/system/{UNIT}.d")
        folder.mkdir(exist_ok=True)
        (folder / "test.conf").write_text(f"[Service]\n{text}\n")
        self.machine.run("systemctl", "daemon-reload")
        try:
            yield
        finally:
            (folder / "test.conf").unlink()
            folder.rmdir()
            self.machine.run("systemctl", "daemon-reload")

    def balanced(self, client: l4lb.Client) -> Balanced:
        """With the demo's services, made if they are not there."""
        balanced = Balanced(self.lab, None, client)  # type: ignore[arg-type]  # it starts and kills no agent
        if not list(client.list_services()):
            balanced.add_web()
        return balanced
