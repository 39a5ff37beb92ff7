"""ICMP as real stacks use it: transfers over a path with a smaller MTU, which only an error that arrives can make work, and ping."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from l4lb.v1.reason_pb2 import Reason
from lab import netns
from lab.direct.modes import Mode
from lab.services import Balanced
from lab.topology import BACKENDS, FAMILIES
from tests.netns.conftest import counted, hears_that_nobody_listens, learnt, set_up

MTU = 1300  # of one link of the router; IPv6 needs 1280
TO_CLIENT, TO_BACKENDS = "eth1", "eth2"  # the router's interfaces


@pytest.fixture
def routed() -> Iterator[Balanced]:
    """Behind a router, HTTP and echo services."""
    with set_up(routed=True) as running:
        running.add_web()
        running.add_echoes()
        yield running


def narrow(running: Balanced, interface: str) -> None:
    """Gives one of the router's links a smaller MTU; both ends of a TCP connection keep offering segments for 1500."""
    netns.batch(running.lab.namespace("router"), [f"link set {interface} mtu {MTU}"])
    for role in ("client", *BACKENDS):
        probing = netns.inside(running.lab.namespace(role), lambda: Path("/proc/sys/net/ipv4/tcp_mtu_probing").read_text())
        assert probing.strip() == "0", "nothing but an error tells a sender of a smaller MTU"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_download_over_a_smaller_mtu_works_because_the_backend_hears_of_it(routed: Balanced, family: int) -> None:
    narrow(routed, TO_CLIENT)
    vip, snat = (host.of(family) for host in (routed.lab.topology.vip(), routed.lab.topology.snat()))
    download = routed.lab.traffic.download(vip, "/bulk.bin", "narrow")
    backend = download.backend.removeprefix("backend-")
    result = download.result()
    assert (result["errors"], result["sha256"]) == ({}, routed.lab.digests["bulk.bin"])
    assert learnt(routed, backend, snat) == MTU
    assert counted(routed, Reason.REASON_ICMP_TO_BACKEND) > 0


@pytest.mark.parametrize(
    ("mode", "topology", "interface"), [(Mode.IPIP, {"routed": True}, "eth1"), (Mode.DSR, {"two_sided": True}, "eth0")]
)
def test_a_backend_that_answers_directly_hears_of_a_smaller_mtu(mode: Mode, topology: dict[str, bool], interface: str) -> None:
    """The router's error is for the VIP, which the backend speaks from: the load balancer sends it on."""
    with set_up(forwarding=mode, **topology) as running:
        running.add_web()
        narrow(running, interface)
        for family, vip in zip(FAMILIES, running.vips()):
            before = counted(running, Reason.REASON_ICMP_TO_BACKEND)
            download = running.lab.traffic.download(vip, "/bulk.bin", "narrow")
            backend = download.backend.removeprefix("backend-")
            result = download.result()
            assert (result["errors"], result["sha256"]) == ({}, running.lab.digests["bulk.bin"])
            assert learnt(running, backend, running.lab.topology.host("client").of(family)) == MTU
            assert counted(running, Reason.REASON_ICMP_TO_BACKEND) > before


@pytest.mark.parametrize("family", FAMILIES)
def test_an_upload_over_a_smaller_mtu_works_because_the_client_hears_of_it(routed: Balanced, family: int) -> None:
    narrow(routed, TO_BACKENDS)
    vip = routed.lab.topology.vip().of(family)
    upload = routed.lab.traffic.upload(vip, "/upload/narrow", 3_000_000, "narrow")
    assert upload["errors"] == {}
    [server] = [server for server in routed.lab.nginx.values() if server.logged("narrow")]
    assert server.uploaded("narrow") == upload["sha256"]
    assert learnt(routed, "client", vip) == MTU
    assert counted(routed, Reason.REASON_ICMP_TO_CLIENT) > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_client_is_told_by_the_vip_that_nobody_listens_at_the_backend(routed: Balanced, family: int) -> None:
    """A connected UDP socket hears of it, as it would from the server itself."""
    hears_that_nobody_listens(routed, family)
    assert counted(routed, Reason.REASON_ICMP_TO_CLIENT) > 0


def ping(running: Balanced, address: str, size: int = 56, within: float = 5.0) -> bool:
    """Whether an echo request with `size` bytes of data is answered with the same; the kernel checks checksum and identifier."""
    data, ipv6 = os.urandom(size), ":" in address

    def ask() -> bool:
        family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if ipv6 else (socket.AF_INET, socket.IPPROTO_ICMP)
        with socket.socket(family, socket.SOCK_DGRAM, protocol) as sock:
            sock.settimeout(within)
            sock.sendto(bytes([128 if ipv6 else 8, 0, 0, 0, 0, 0, 0, 9]) + data, (address, 0))
            try:
                answer, sender = sock.recvfrom(65536)
            except TimeoutError:
                return False
            assert (answer[0], answer[6:8], answer[8:], sender[0]) == (129 if ipv6 else 0, b"\0\x09", data, address)
            return True

    namespace = running.lab.namespace("client")
    netns.set_sysctls(namespace, {"ipv4/ping_group_range": "0 0"})
    return netns.inside(namespace, ask)


@pytest.mark.parametrize("mode", ["native-tx", "native-redirect", "generic"])
def test_a_vip_answers_ping_as_long_as_it_has_a_backend(mode: str) -> None:
    with set_up(mode) as running:
        for family in FAMILIES:
            running.add_service(f"web{family}", family, protocol="tcp", port=80, weights={"a": 1})
        for vip in running.vips():
            for size in (0, 1, 56, 1001, 1400):
                assert ping(running, vip, size), (vip, size)
        for snat in (running.lab.topology.snat().of(family) for family in FAMILIES):
            assert not ping(running, snat, within=0.3)
        for family in FAMILIES:
            running.client.update_backend(f"web{family}/a", weight=0)
        for vip in running.vips():
            assert not ping(running, vip, within=0.3)
        assert counted(running, Reason.REASON_ECHO_ANSWERED) == 10
        assert counted(running, Reason.REASON_ECHO_REFUSED) == 4


def test_a_flood_of_pings_is_answered_within_the_budget(running: Balanced) -> None:
    """`icmp_rate` a second and CPU, and `icmp_burst` at once; the rest is dropped without a sound."""
    running.add_service("web4", 4, protocol="tcp", port=80, weights={"a": 1})
    vip, sent, began = running.lab.topology.vip().v4, 20_000, time.monotonic()

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as sock:
            for _ in range(sent):
                sock.sendto(bytes([8, 0, 0, 0, 0, 0, 0, 9]), (vip, 0))

    assert ping(running, vip)
    netns.inside(running.lab.namespace("client"), flood)
    answered, limited = counted(running, Reason.REASON_ECHO_ANSWERED), counted(running, Reason.REASON_ECHO_LIMITED)
    cpus, seconds = os.cpu_count() or 1, time.monotonic() - began
    assert answered + limited == sent + 1
    assert answered <= cpus * (1000 + 1000 * (seconds + 1))
    assert limited > 0
    assert running.lab.traffic.counted([vip], 5, "after")["errors"] == {}
