"""A whole laboratory: namespaces, wires, nginx and echo servers, ready for an agent; and its end."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from lab import install, interrupt, netns, offload, state
from lab.direct.backend import Direct, DirectBackend
from lab.nginx import Nginx, make_files
from lab.offload import Peer
from lab.topology import BACKENDS, PORT_ECHO, PORT_HTTP, Host, Topology, address_lines
from lab.traffic import Traffic


class Laboratory:
    """`with Laboratory() as lab:` brings it up and removes every trace of it. Needs root."""

    def __init__(
        self, *, routed: bool = False, two_sided: bool = False, through: bool = False, tagged: bool = False, peer: Peer = Peer.PROGRAM,
        direct: Direct | None = None,
    ) -> None:  # fmt: skip
        """With `direct` the backends are prepared for answering clients themselves, with `through` for answering them through the load
        balancer, which a routed laboratory cannot. `tagged`: the two sides are VLANs of one wire, whose kernel must have them."""
        assert not (routed and through)
        assert two_sided or not tagged
        self.topology = Topology(routed, two_sided, through, tagged)
        self.direct: dict[str, DirectBackend] = {}
        self._how, self._peer = direct, peer
        self.nginx: dict[str, Nginx] = {}
        self.digests: dict[str, str] = {}
        self.offload = ""  # what was done about checksum offload, in words
        self._run: state.RunDirectory | None = None
        self._umask = 0o022
        self._helpers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Laboratory":
        self._umask = os.umask(0o022)  # the agent and nginx's workers, who are not root, read what is made here
        try:
            with interrupt.held():  # else an interrupted claim would leave its folder
                self._run = state.claim()
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def run(self) -> state.RunDirectory:
        """What the run owns; inside `with` only."""
        assert self._run is not None
        return self._run

    @property
    def id(self) -> str:
        """The run's id."""
        return self.run.id

    def namespace(self, role: str) -> str:
        """Full name of a namespace."""
        return self.run.prefix + role

    def namespaces(self) -> list[str]:
        """Full names of all of them."""
        return [self.namespace(role) for role in self.topology.roles()]

    def _build(self) -> None:
        self.run.mount_bpffs()
        netns.create(self.namespaces())
        self._wire()
        self.digests = make_files(self.run.path / "www")
        binary = install.cache_folder() / "nginx/usr/sbin/nginx"
        for name in BACKENDS:
            arguments = (self.namespace(name), self.run.path / f"nginx-{name}", f"backend-{name}", self.run.path / "www", PORT_HTTP)
            self.nginx[name] = Nginx(binary, *arguments)
            self._helper(name, "lab.echo", str(PORT_ECHO))
        self.traffic = Traffic(self.namespace("client"))
        for nginx in self.nginx.values():
            nginx.wait()
        self._wait_helpers()

    def _helper(self, role: str, module: str, *arguments: str) -> None:
        """Start one of our own servers in a namespace; `_wait_helpers` tells when all serve."""
        argv = netns.entering(self.namespace(role), [sys.executable, "-m", module, *arguments])
        with (self.run.path / f"{module}-{role}.log").open("w") as errors:
            self._helpers.append(
                subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
            )

    def _wait_helpers(self) -> None:
        for helper in self._helpers:
            if helper.stdout and not helper.stdout.closed:
                with helper.stdout as output:
                    if output.readline() != b"ready\n":
                        raise RuntimeError(f"{helper.args!r} does not start")

    def _wire(self) -> None:
        topology, prefix = self.topology, self.run.prefix
        for role in topology.roles():
            # Link-local addresses are usable at once: nothing waits a second for duplicate address detection.
            settings = {f"ipv6/conf/{which}/accept_dad": "0" for which in ("all", "default")}
            settings.update({f"ipv6/conf/{which}/dad_transmits": "0" for which in ("all", "default")})
            netns.set_sysctls(prefix + role, settings)
        netns.batch(prefix + "switch", topology.switch_lines(prefix))
        for role in topology.roles():
            netns.batch(prefix + role, topology.host_lines(role, prefix))
            netns.set_sysctls(prefix + role, topology.sysctls(role))
        netns.batch(prefix + "lb", topology.management_lines())
        self.offload = "; ".join(offload.prepare(prefix + "switch", port, self._peer, self.run.bpffs) for port in topology.ports())
        if topology.tagged:
            offload.write_tags(prefix + "switch", "lb")
        if self._how is not None:
            for name in BACKENDS:
                self._prepare(name, self._how)

    def _prepare(self, name: str, direct: Direct) -> None:
        """What a backend that answers directly has beside its server."""
        offload.finish_checksums(self.namespace("switch"), name)
        self.direct[name] = DirectBackend(self.namespace(name), self.topology.vip(), self.topology.host(name), direct)
        if direct is Direct.TUNNEL:
            netns.batch(self.namespace(name), self.topology.small_segments(self.topology.host(name)))

    def folder_for(self, name: str, uid: int, base: Path | None = None) -> Path:
        """A new folder of the run (or below `base`) that belongs to `uid`."""
        folder = (base or self.run.path) / name
        folder.mkdir(mode=0o755)
        os.chown(folder, uid, uid)
        return folder

    def move(self, name: str, host: Host, mac: str) -> None:
        """Give a backend other addresses, in place of all it has, and another MAC address."""
        current = self.addresses(name)
        # Removed first: the kernel removes the second address of a network together with the first.
        lines = [*(f"addr del {address} dev eth0" for address in current), f"link set eth0 address {mac}", *address_lines("eth0", host)]
        lines += self.topology.small_segments(host) if self._how is Direct.TUNNEL else self.topology.routes(name)
        netns.batch(self.namespace(name), lines)
        if name in self.direct:
            self.direct[name].move(host)

    def change_mac(self, name: str, mac: str) -> None:
        """Give a host another MAC address; it tells its neighbours."""
        netns.batch(self.namespace(name), [f"link set eth0 address {mac}"])

    def addresses(self, name: str) -> list[str]:
        """Addresses with prefix length of a host's eth0, without link-local ones."""
        output = netns.run(["ip", "-n", self.namespace(name), "-o", "addr", "show", "dev", "eth0", "scope", "global"])
        return [line.split()[3] for line in output.splitlines()]

    def mac(self, name: str) -> str:
        """MAC address of a host's eth0."""
        return netns.run(["ip", "-n", self.namespace(name), "-o", "link", "show", "dev", "eth0"]).split("link/ether ")[1].split()[0]

    def link(self, name: str) -> str:
        """What ip(8) says of a host's eth0."""
        return netns.run(["ip", "-n", self.namespace(name), "-d", "link", "show", "dev", "eth0"])

    def sent_by_balancer(self) -> int:
        """Bytes that the load balancer's interfaces have sent, XDP's included."""
        links = json.loads(netns.run(["ip", "-n", self.namespace("lb"), "-s", "-j", "link"]))
        return sum(link["stats64"]["tx"]["bytes"] for link in links if link["ifname"] in self.topology.interfaces())

    def forget_neighbours(self, name: str) -> None:
        """Make a host resolve everyone anew."""
        netns.batch(self.namespace(name), ["neigh flush dev eth0"])

    def close(self) -> None:
        """End every process of the run and remove all it has made. May be called again after a failure."""
        if hasattr(self, "traffic"):
            self.traffic.kill()
        for nginx in self.nginx.values():
            nginx.stop()
        for backend in self.direct.values():
            backend.close()
        for helper in self._helpers:
            helper.kill()
            helper.wait()
            if helper.stdout:
                helper.stdout.close()
        if self._run is not None:
            self._run.remove()
        os.umask(self._umask)
