"""The ten faults: how each is planted, what is looked at, what must be told, and what cures it."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from lab import netns, offload
from lab.agent import UID
from lab.faults.scene import Scene, pinned, restart, wait_answers

B: Final = "services/web4/backends/b"
PORTS: Final = (40000, 40031)


@dataclass(frozen=True)
class Fault:
    """`symptom` is what somebody complains of; `told` and `shown` are what the answers of the two commands must say; `gone` is what the
    doctor finds before the cure and not after it ("": it is cured already); `elsewhere`: the first command is the controller's."""

    name: str
    symptom: str
    plant: Callable[[Scene], None]
    first: str
    told: tuple[str, ...]
    second: str
    shown: tuple[str, ...]
    cure: Callable[[Scene], None]
    gone: str
    ports: tuple[int, int] | None = None
    elsewhere: bool = False
    meanwhile: Callable[[Scene], None] = lambda made: None  # again and again while somebody looks


def _mtu(made: Scene) -> None:
    address = made.lab.topology.host("a").v4
    netns.batch(made.lab.namespace("lb"), [f"route add {address}/32 dev eth0 mtu 1000"])


def _upload(made: Scene) -> None:
    """From a client that has forgotten what fits."""
    netns.batch(made.lab.namespace("client"), ["route flush cache"])
    made.lab.traffic.upload(made.lab.topology.vip().v4, "/upload/large", 20_000, "fault")


def _mtu_cure(made: Scene) -> None:
    made.shell("lb", f"ip route replace {made.lab.topology.host('a').v4} dev eth0 mtu 1500")


def _server_gone(made: Scene) -> None:
    made.lab.nginx["b"].stop()


def _drain(made: Scene) -> None:
    """With a deadline: a connection that the client has closed and the backend has not is waited for two minutes else."""
    made.l4lbctl("drain", "web4/b", "--timeout", "20s", "--at-deadline", "cut")


def _nothing(_: Scene) -> None:
    """Traffic does it."""


def _more_ports(made: Scene) -> None:
    text = made.agent.file.read_text()
    made.agent.file.write_text(text.replace(f"port_range = {list(PORTS)}\n", ""))
    made.note(f"agent.toml: port_range = {list(PORTS)} is taken out; systemctl restart l4lb-agent")
    restart(made)
    wait_answers(made)


def _denied(made: Scene) -> None:
    made.client.create_list("scanners", prefixes=["10.77.0.8/29", "198.51.100.0/24"])
    made.client.update_service("web4", deny_list="scanners")


def _let_in(made: Scene) -> None:
    made.l4lbctl("list", "update", "scanners", "--remove", "10.77.0.8/29")


def _unplugged(made: Scene) -> None:
    """And the load balancer asks anew who has its address, which it would do by itself after a minute."""
    netns.batch(made.lab.namespace("b"), ["link set eth0 down"])
    made.lab.forget_neighbours("lb")


def _plugged(made: Scene) -> None:
    made.shell("b", "ip link set eth0 up")


def _foreign(made: Scene) -> None:
    """The agent is taken off, somebody puts a program there, as `ip link set dev eth0 xdp` does, and the agent is started again."""
    made.agent.stop()
    made.agent.run("detach")
    with Fd(syscall.prog_load(offload.PASS, "firewall")) as program:
        netns.inside(made.lab.namespace("lb"), lambda: _set_xdp("eth0", program.fileno()))
    made.agent.start()
    wait_answers(made)


def _set_xdp(interface: str, program: int) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.link("set", index=socket.if_nametoindex(interface), xdp_fd=program)


def _foreign_cure(made: Scene) -> None:
    made.shell("lb", "ip link set dev eth0 xdp off")


def _drifted(made: Scene) -> None:
    """Somebody writes another MAC address into the element of a backend."""
    with Fd(syscall.obj_get(pinned(made, "backends"))) as backends:
        number = made.client.get_backend("web4/b").datapath_id
        key = number.to_bytes(4, "little")
        element = bytearray(syscall.map_lookup(backends.fileno(), key, 64) or bytes(64))
        element[:16] = socket.inet_pton(socket.AF_INET6, "::ffff:10.77.0.99")
        syscall.map_update(backends.fileno(), key, bytes(element))


def _put_right(made: Scene) -> None:
    made.note("the agent has put the map right already, and warns for an hour that somebody writes there")


def _unfinished(made: Scene) -> None:
    netns.run(netns.entering(made.lab.namespace("switch"), ["ethtool", "-K", "lb", "tx", "on"]))


def _finished(made: Scene) -> None:
    made.shell("switch", "ethtool -K lb tx off")


def _lost_certificate(made: Scene) -> None:
    (made.remote.authority.folder / f"agent-{made.lab.topology.management('lb')}.pem").unlink()
    restart(made)
    wait_answers(made)


def _renewed(made: Scene) -> None:
    made.remote.configuration(UID)
    made.note("a new certificate is put in its place; the agent takes it without a restart")


def _silent(made: Scene) -> None:
    netns.batch(made.lab.namespace("b"), [f"route add blackhole {made.lab.topology.snat().v4}/32"])


FAULTS: Final = (
    Fault(
        "wrong MTU", "large uploads crawl or hang, small requests are fine", _mtu,
        "doctor", ("MTU_SHORT  services/web4", "1000 fit on the way over eth0 to services/web4/backends/a", "dev eth0 mtu 1500"),
        "capture --reason too-big-answered --count 1 --for 10s", ("reason=TOO_BIG_ANSWERED service=web4 backend=web4/a",),
        _mtu_cure, "MTU_SHORT services/web4", meanwhile=_upload,
    ),
    Fault(
        "dead backend", "every second request is refused at once", _server_gone,
        "doctor", (f"ERROR    BACKEND_REFUSES  {B}", "nothing listens at 10.77.0.22 port 80", "$ l4lbctl drain web4/b"),
        "capture --prefix 10.77.0.22 --count 4 --for 10s", (" RA ", "10.77.0.22:80 > 10.77.0.200:", "backend=web4/b"),
        _drain, f"BACKEND_REFUSES {B}",
    ),
    Fault(
        "full port range", "new connections time out while old ones go on", _nothing,
        "doctor", ("ERROR    SNAT_PORTS_SHORT  services/web4/backends/", "of 32 source ports", "DROPPED  NO_SOURCE_PORT", "port_range"),
        "flows web4", ("10.77.0.200:400", "10.77.0.10"),
        _more_ports, "SNAT_PORTS_SHORT", ports=PORTS,
    ),
    Fault(
        "list entry", "one client gets nothing, others do", _denied,
        "doctor", ("PACKETS_DROPPED  DENIED", "(scanners of web4)", "capture --verdict drop --reason denied --count 3"),
        "explain tcp 10.77.0.10:40000 10.77.0.100:80", ("the deny list has the client", "a prefix of 29 bits has it", "DROP DENIED (web4)"),
        _let_in, "PACKETS_DROPPED DENIED",
    ),
    Fault(
        "missing neighbour", "one backend has no requests in its log", _unplugged,
        "doctor", (f"ERROR    BACKEND_UNRESOLVED  {B}", "10.77.0.22", "does not answer"),
        "ring web4", ("web4/b", "next hop"),
        _plugged, f"BACKEND_UNRESOLVED {B}",
    ),
    Fault(
        "other program on the interface", "nobody reaches the VIP since the agent was started", _foreign,
        "doctor", ("ERROR    XDP_FOREIGN  eth0", "of somebody else runs on eth0", "$ ip link set dev eth0 xdp off"),
        "agent", ("eth0", "already runs XDP program"),
        _foreign_cure, "XDP_FOREIGN eth0",
    ),
    Fault(
        "drifted map", "for a moment every second request failed", _drifted,
        "doctor", ("WARNING  MAP_DRIFTED", "the map backends (first: backends[", B, "who put it right at"),
        "agent", ("MAP_DRIFTED", "bpftool"),
        _put_right, "",
    ),
    Fault(
        "checksum offload", "no connection to any backend comes about", _unfinished,
        "doctor", (f"BACKEND_SILENT  {B}", "CHECKSUM_UNSEEN", "checksums (`l4lbctl capture` says"),
        "capture --service web4 --count 3 --for 10s", ("checksum=unfinished",),
        _finished, f"BACKEND_SILENT {B}",
    ),
    Fault(
        "lost certificate", "the controller cannot reach the agent any more", _lost_certificate,
        "doctor", ("no agent answers at 10.77.9.1:7443", "run it on the agent's host"),
        "doctor", ("ERROR    TLS_CERTIFICATE_BAD", "agent-10.77.9.1.pem", "No such file or directory", "takes a new one without a restart"),
        _renewed, "TLS_CERTIFICATE_BAD", elsewhere=True,
    ),
    Fault(
        "silent backend", "every second request times out", _silent,
        "doctor", (f"BACKEND_SILENT  {B}", "no route back from there to 10.77.0.200", "$ l4lbctl flows web4/b", "$ l4lbctl drain web4/b"),
        "flows web4/b", ("SYN", "web4/b"),
        _drain, f"BACKEND_SILENT {B}",
    ),
)  # fmt: skip
