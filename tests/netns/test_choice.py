"""What virtual services take and whom they choose, as clients' real stacks see it."""

import errno
import socket
from collections.abc import Iterator

import pytest

from l4lb.v1.reason_pb2 import Reason
from lab import netns
from lab.direct.modes import Mode
from lab.services import Balanced
from lab.topology import FAMILIES, PORT_ECHO, PORT_HTTP
from tests.netns.conftest import set_up

SOON = 3.0  # seconds; a kernel that is still sending its SYN when an ICMP error comes believes that of the next one, a second later
CASES = {
    "nat": ("native-tx", Mode.NAT),
    "nat-redirect": ("native-redirect", Mode.NAT),
    "nat-generic": ("generic", Mode.NAT),
    "keep": ("native-tx", Mode.KEEP),
    "dsr": ("native-tx", Mode.DSR),
    "ipip-generic": ("generic", Mode.IPIP),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def running(request: pytest.FixtureRequest) -> Iterator[Balanced]:
    mode, forwarding = request.param
    with set_up(mode, forwarding=forwarding) as made:
        yield made


def heard(running: Balanced, address: str, port: int, kind: socket.SocketKind) -> int:
    """The error that the kernel gives a client who connects, or sends from a connected UDP socket; 0 for none."""

    def ask() -> int:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as sock:
            sock.settimeout(SOON)
            try:
                sock.connect((address, port))
                sock.send(b"anybody?")
                sock.recv(100)
            except OSError as error:
                return error.errno or 0
        return 0

    return netns.inside(running.lab.namespace("client"), ask)


def test_a_client_of_a_service_without_backend_learns_at_once(running: Balanced) -> None:
    """By what RST and ICMP mean to its kernel: the errors are those of Linux."""
    refused = {4: errno.ECONNREFUSED, 6: errno.ECONNREFUSED}
    told = {"reset": refused, "unreachable": refused, "prohibited": {4: errno.EHOSTUNREACH, 6: errno.EACCES}}
    for family, vip in zip(FAMILIES, running.vips()):
        for protocol in ("tcp", "udp"):
            running.client.create_service(f"{protocol}{family}", vip=vip, port=80, protocol=protocol, on_empty="reset", **running.options)
        for on_empty, error in told.items():
            for protocol, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
                running.client.update_service(f"{protocol}{family}", on_empty=on_empty)
                assert heard(running, vip, 80, kind) == error[family], (on_empty, protocol, family)
    [sample] = running.client.stats(samples=1)
    assert sum(row.packets for row in sample.reasons if row.reason == Reason.REASON_NO_BACKEND_ANSWERED) >= 12


def answering(running: Balanced, vip: str, port: int = PORT_HTTP) -> set[str]:
    """The backends that answer requests to the port."""
    seen = running.lab.traffic.counted([vip], 10, f"port{port}", port=port)
    assert seen["errors"] == {}
    return set(seen["by_backend"])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_service_with_the_narrowest_range_takes_a_connection_also_while_others_come_and_go(running: Balanced, family: int) -> None:
    vip = running.lab.topology.vip().of(family)

    def add(name: str, host: str, **ports: int) -> None:
        running.client.create_service(name, vip=vip, **ports, **running.options)
        running.add_backend(f"{name}/{host}", family)

    add("any", "a", any_port=True)
    assert answering(running, vip) == {"backend-a"}
    add("range", "b", port=PORT_HTTP - 1, port_end=PORT_HTTP + 1)
    assert answering(running, vip) == {"backend-b"}
    add("single", "a", port=PORT_HTTP)
    assert answering(running, vip) == {"backend-a"}
    running.client.delete_service("single", force=True)
    assert answering(running, vip) == {"backend-b"}
    running.client.delete_service("range", force=True)
    assert answering(running, vip) == {"backend-a"}
    assert heard(running, vip, PORT_ECHO, socket.SOCK_STREAM) == 0, "the echo server of the same backend, at the port that was asked for"


@pytest.mark.parametrize("family", FAMILIES)
def test_nat_takes_a_range_of_ports_to_the_one_that_a_backend_names(family: int) -> None:
    with set_up() as running:
        vip = running.lab.topology.vip().of(family)
        running.client.create_service("web", vip=vip, port=9000, port_end=9010)
        running.client.add_backend("web/b", address=running.lab.topology.host("b").of(family), port=PORT_HTTP)
        for port in (9000, 9005, 9010):
            assert answering(running, vip, port) == {"backend-b"}


def used(running: Balanced, vips: list[str], marker: str) -> set[str]:
    """The backends that answer the many connections of a browser; both families' clients count together."""
    seen = running.lab.traffic.counted(vips, 60, marker)
    assert seen["errors"] == {}
    return set(seen["by_backend"])


def test_a_browser_stays_at_one_backend_until_that_is_drained(running: Balanced) -> None:
    """Many connections, several at once, each from a port of its own."""
    for family, vip in zip(FAMILIES, running.vips()):
        name = f"web{family}"
        running.client.create_service(name, vip=vip, port=PORT_HTTP, affinity={"timeout": 600}, **running.options)
        for backend in ("a", "b"):
            running.add_backend(f"{name}/{backend}", family)
        [first] = used(running, [vip], f"first{family}")
        running.client.update_backend(f"{name}/{'a' if first == 'backend-b' else 'b'}", weight=1000)
        assert used(running, [vip], f"weight{family}") == {first}, "a change of the ring moves nobody who is known"
        download = running.lab.traffic.download(vip, "/bulk.bin", f"down{family}")
        assert download.backend == first
        running.client.drain(f"{name}/{first.removeprefix('backend-')}", timeout=60)
        [second] = used(running, [vip], f"second{family}")
        assert second != first
        result = download.result()
        assert (result["errors"], result["sha256"]) == ({}, running.lab.digests["bulk.bin"]), "what was there goes on"
        running.client.undrain(f"{name}/{first.removeprefix('backend-')}")
        assert used(running, [vip], f"third{family}") == {second}, "the client has another backend by now"
