"""Full NAT for both families and protocols, in every way that packets can leave."""

from collections.abc import Iterator

import pytest

from l4lb.v1.agent_pb2 import XdpMode
from l4lb.v1.reason_pb2 import Verdict
from lab.services import Balanced
from lab.topology import FAMILIES
from tests.netns.conftest import MODES, downloads_whole, echoes, set_up, uploads_whole

LAYOUTS = [*((mode, False) for mode in MODES), ("native-tx", True)]


@pytest.fixture(scope="module", params=LAYOUTS, ids=[f"{mode}-{'routed' if routed else 'bridged'}" for mode, routed in LAYOUTS])
def everything(request: pytest.FixtureRequest) -> Iterator[tuple[str, Balanced]]:
    mode, routed = request.param
    with set_up(mode, routed=routed) as running:
        running.add_web()
        running.add_echoes()
        yield mode, running


def verdicts(running: Balanced) -> dict[int, int]:
    [sample] = running.client.stats(samples=1)
    counted: dict[int, int] = {}
    for row in sample.reasons:
        counted[row.verdict] = counted.get(row.verdict, 0) + row.packets
    return counted


def test_every_request_is_answered_by_the_backend_that_logged_it(everything: tuple[str, Balanced]) -> None:
    running = everything[1]
    seen = running.lab.traffic.counted(running.vips(), 100, "nat")
    assert (seen["failed"], seen["errors"]) == (0, {})
    assert seen["by_backend"] == {server.name: len(server.logged("nat")) for server in running.lab.nginx.values()}
    assert len(seen["by_backend"]) == 2


def test_backends_see_the_snat_address(everything: tuple[str, Balanced]) -> None:
    running = everything[1]
    running.lab.traffic.counted(running.vips(), 10, "source")
    sources = {line.split()[3] for server in running.lab.nginx.values() for line in server.logged("source")}
    snat = running.lab.topology.snat()
    assert sources == {snat.v4, snat.v6}


def test_tcp_and_udp_echo(everything: tuple[str, Balanced]) -> None:
    echoes(everything[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_bulk_transfers_arrive_whole_in_both_directions(everything: tuple[str, Balanced], family: int) -> None:
    downloads_whole(everything[1], family)
    uploads_whole(everything[1], family)


def test_packets_leave_in_the_way_that_was_configured(everything: tuple[str, Balanced]) -> None:
    mode, running = everything
    [interface] = running.client.agent().interfaces
    assert interface.mode == (XdpMode.XDP_MODE_GENERIC if mode == "generic" else XdpMode.XDP_MODE_NATIVE)
    running.lab.traffic.counted(running.vips(), 2, "way")
    counted = verdicts(running)
    sent, redirected = (counted.get(verdict, 0) for verdict in (Verdict.VERDICT_TX, Verdict.VERDICT_REDIRECT))
    if mode == "native-redirect":
        # Answers to ARP and neighbour solicitations may leave either way; forwarded packets are redirected.
        assert redirected > sent
    else:
        assert (sent > 0, redirected) == (True, 0)
    assert counted.get(Verdict.VERDICT_UNSPECIFIED, 0) == 0
