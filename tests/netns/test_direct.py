"""DSR and ENCAP with real stacks: backends answer clients directly, over every wiring and through every outer header."""

from collections.abc import Iterator
from typing import Any

import pytest

from l4lb.v1.reason_pb2 import Reason
from lab.direct.modes import Mode
from lab.nginx import BULK_BYTES
from lab.services import EVEN, Balanced
from lab.topology import FAMILIES, PORT_HTTP
from tests.netns.conftest import downloads_whole, set_up, uploads_whole

# In ENCAP backend-a is reached over IPv4 and backend-b over IPv6, whatever the VIP's family: all four pairs.
BOTH = {"a": 4, "b": 6}
CASES: dict[str, tuple[Mode, dict[str, Any]]] = {
    "dsr-redirect": (Mode.DSR, {"mode": "native-redirect", "options": {"flow_tracking": "all"}}),
    "dsr-two-sided": (Mode.DSR, {"two_sided": True}),
    "ipip": (Mode.IPIP, {"over": BOTH}),
    "ipip-generic": (Mode.IPIP, {"over": BOTH, "mode": "generic"}),
    "ipip-routed": (Mode.IPIP, {"over": BOTH, "routed": True, "options": {"flow_tracking": "all"}}),
    "gue-routed-spread-checksum": (
        Mode.GUE,
        {"over": BOTH, "routed": True, "options": {"encap": {"outer_source": "spread", "outer_checksum": True}}},
    ),
    "fou-redirect": (Mode.FOU, {"over": BOTH, "mode": "native-redirect"}),
    "fou-two-sided-checksum": (Mode.FOU, {"over": BOTH, "two_sided": True, "options": {"encap": {"outer_checksum": True}}}),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def running(request: pytest.FixtureRequest) -> Iterator[Balanced]:
    mode, arguments = request.param
    with set_up(forwarding=mode, **arguments) as made:
        made.add_web(EVEN)
        made.add_echoes()
        yield made


def test_every_request_is_answered_by_the_backend_that_logged_it_and_saw_the_client(running: Balanced) -> None:
    taken = {name: backend.taken() for name, backend in running.lab.direct.items()}
    for family in FAMILIES:
        seen = running.lab.traffic.counted([running.lab.topology.vip().of(family)], 100, f"direct{family}")
        assert seen["errors"] == {}
        logged = {server.name: server.logged(f"direct{family}") for server in running.lab.nginx.values()}
        assert seen["by_backend"] == {name: len(lines) for name, lines in logged.items()}
        assert len(seen["by_backend"]) == 2
        assert {line.split()[3] for lines in logged.values() for line in lines} == {running.lab.topology.host("client").of(family)}
    if running.over:
        for name, backend in running.lab.direct.items():
            assert backend.taken() >= taken[name] + 4 * 40, backend.words


def test_tcp_and_udp_echo(running: Balanced) -> None:
    connections = running.lab.traffic.connections(running.vips(), 10)
    datagrams = running.lab.traffic.datagrams(running.vips(), 10)
    messages, probes = connections.result(), datagrams.result()
    assert (messages["errors"], messages["open"]) == ({}, 10)
    assert (probes["errors"], probes["requests"] >= 20) == ({}, True)


def test_by_dsr_nothing_goes_to_a_router() -> None:
    with set_up(forwarding=Mode.DSR, routed=True) as running:
        topology = running.lab.topology
        running.client.create_service("web4", vip=topology.vip().v4, port=PORT_HTTP, **running.options)
        added = running.client.add_backend("web4/a", address=topology.host("a").v4)
        assert added.reconciling
        assert f"behind the router {added.next_hop.gateway}" in added.reconciling_reason
        seen = running.lab.traffic.counted([topology.vip().v4], 2, "nowhere", patience=1.0)
        [sample] = running.client.stats(samples=1)
        assert seen["failed"] == 2
        assert {row.reason for row in sample.reasons} & {Reason.REASON_TO_BACKEND, Reason.REASON_FLOW_CREATED} == set()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_download_arrives_whole_and_does_not_pass_the_load_balancer(running: Balanced, family: int) -> None:
    assert 0 < downloads_whole(running, family) < BULK_BYTES / 10  # acknowledgements
    [sample] = running.client.stats(samples=1)
    assert sum(service.traffic.bytes_out for service in sample.services) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_an_upload_arrives_whole_in_segments_that_fit(running: Balanced, family: int) -> None:
    uploads_whole(running, family)
