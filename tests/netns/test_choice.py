"""What virtual services take and whom they choose, as clients' real stacks see it."""

import errno
import socket
from collections.abc import Iterator

import pytest

from l4lb.v1.reason_pb2 import Reason
from lab import netns
from lab.direct.modes import Mode
from lab.services import Balanced
from lab.topology import FAMILIES
from tests.netns.conftest import set_up

SOON = 3.0  # seconds; a kernel that is still sending its SYN when an ICMP error comes believes that of the next one, a second later
CASES = {
    "nat": ("native-tx", Mode.NAT),
    "nat-redirect": ("native-redirect", Mode.NAT),
    "nat-generic": ("generic", Mode.NAT),
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
