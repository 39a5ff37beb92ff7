"""Who may use a virtual service, and how many new flows it takes, as a client's real stack sees it."""

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

import l4lb
from l4lb.v1.reason_pb2 import Reason
from lab.direct.modes import Mode
from lab.services import EVEN, Balanced
from lab.topology import FAMILIES
from tests.netns.conftest import counted, set_up

CASES = {
    "nat": ("native-tx", Mode.NAT),
    "nat-generic": ("generic", Mode.NAT),
    "keep": ("native-tx", Mode.KEEP),
    "dsr": ("native-tx", Mode.DSR),
    "ipip": ("native-tx", Mode.IPIP),
}
SERVICES = [f"{kind}{family}" for kind in ("web", "echo-tcp", "echo-udp") for family in FAMILIES]
MANY = 5_000


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def running(request: pytest.FixtureRequest) -> Iterator[Balanced]:
    mode, forwarding = request.param
    with set_up(mode, forwarding=forwarding) as made:
        made.add_web(EVEN)
        made.add_echoes()
        yield made


def others(first: int, count: int = MANY) -> list[str]:
    """Prefixes of both families in which nobody of the laboratory is."""
    half = count // 2
    v4 = [f"172.{16 + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in range(first, first + half)]
    return v4 + [f"2001:db8:aaaa:{n:x}::/64" for n in range(first, first + count - half)]


def client_of(running: Balanced) -> list[str]:
    """Both addresses of the client."""
    host = running.lab.topology.host("client")
    return [host.of(family) for family in FAMILIES]


def test_a_client_who_is_denied_is_cut_off_at_once_and_comes_back_when_he_is_not(running: Balanced) -> None:
    lb, traffic = running.client, running.lab.traffic
    lb.create_list("bad", prefixes=others(0))
    for name in SERVICES:
        lb.update_service(name, deny_list="bad")
    assert traffic.counted(running.vips(), 5, "before")["errors"] == {}
    established = traffic.connections(running.vips(), 4)
    lb.update_list("bad", add=client_of(running))
    before = counted(running, Reason.REASON_DENIED)
    assert traffic.counted(running.vips(), 2, "denied", patience=1.0)["failed"] == 4
    assert counted(running, Reason.REASON_DENIED) > before
    cut = established.result()
    assert (cut["open"], cut["failed"]) == (0, 4)
    assert not any(server.logged("denied") for server in running.lab.nginx.values())
    lb.update_list("bad", remove=client_of(running))
    assert traffic.counted(running.vips(), 5, "after")["errors"] == {}


def test_an_allow_list_lets_in_its_client_alone(running: Balanced) -> None:
    lb, traffic = running.client, running.lab.traffic
    lb.create_list("good", prefixes=[*others(0), *client_of(running)])
    for name in SERVICES:
        lb.update_service(name, allow_list="good")
    assert traffic.counted(running.vips(), 5, "allowed")["errors"] == {}
    datagrams = traffic.datagrams(running.vips(), 2)
    assert datagrams.result()["errors"] == {}
    lb.update_list("good", prefixes=others(MANY))
    assert traffic.counted(running.vips(), 1, "not-allowed", patience=1.0)["failed"] == 2
    assert counted(running, Reason.REASON_NOT_ALLOWED) > 0
    for name in SERVICES:
        lb.update_service(name, allow_list="")
    assert traffic.counted(running.vips(), 5, "all")["errors"] == {}


def test_a_list_is_exchanged_under_traffic_and_nobody_notices() -> None:
    """The client is in it all the time, each time by another prefix."""
    with set_up() as running:
        running.add_web()
        running.add_echoes()
        lb, traffic = running.client, running.lab.traffic
        v4, v6 = client_of(running)
        lb.create_list("good", prefixes=[*others(0), v4, v6])
        for name in SERVICES:
            lb.update_service(name, allow_list="good")
        new, established = traffic.constant(running.vips(), 100, "exchange"), traffic.connections(running.vips(), 4)
        for turn, spelled in enumerate(
            ([f"{v4}/32", "::/0"], ["0.0.0.0/0", f"{v6}/128"], [v4, v6, "0.0.0.0/0"], ["0.0.0.0/1", "128.0.0.0/1", "::/0"])
        ):
            lb.update_list("good", prefixes=[*others(MANY * (turn + 1)), *spelled])
        assert new.result()["errors"] == {}
        lasted = established.result()
        assert (lasted["errors"], lasted["open"]) == ({}, 4)


@pytest.mark.parametrize("moment", [0.02, 0.1, 0.3])
def test_an_agent_that_is_killed_while_it_writes_a_list_leaves_it_to_the_next_one(moment: float) -> None:
    with set_up() as running:
        running.add_web()
        lb = running.client
        lb.create_list("bad", prefixes=others(0, 10_000))
        for family in FAMILIES:
            lb.update_service(f"web{family}", deny_list="bad")

        def replace() -> None:
            with l4lb.Client(running.agent.target) as other, contextlib.suppress(l4lb.Error):  # killed before it answers
                other.update_list("bad", prefixes=[*others(20_000, 10_000), *client_of(running)])

        asking = threading.Thread(target=replace)
        asking.start()
        time.sleep(moment)
        running.agent.kill()
        asking.join()
        running.agent.start()
        running.agent.wait_ready(lb)
        told = lb.get_list("bad")
        held = {entry.stats.map: entry.stats.entries for entry in lb.agent().maps}["lists"]
        assert held == told.prefix_count == len(told.prefixes)
        denied = set(client_of(running)) <= {prefix.partition("/")[0] for prefix in told.prefixes}
        seen = running.lab.traffic.counted(running.vips(), 2, "after", patience=1.0)
        assert seen["failed"] == (4 if denied else 0)


def test_new_flows_are_limited_and_those_that_are_there_are_not(running: Balanced) -> None:
    lb, traffic = running.client, running.lab.traffic
    established = traffic.connections(running.vips(), 6)
    for family in FAMILIES:
        lb.update_service(f"echo-tcp{family}", new_flow_limit={"per_source": {"flows_per_second": 1, "burst": 2}})
        lb.update_service(f"web{family}", new_flow_limit={"per_service": {"flows_per_second": 1, "burst": 3}})
    seen = traffic.counted(running.vips(), 20, "many", patience=0.5)
    assert 6 <= seen["requests"] - seen["failed"] <= 6 + 2 * 10, "bursts, and one a second while it lasted"
    assert counted(running, Reason.REASON_NEW_FLOWS_LIMITED) > 0
    more = traffic.connections(running.vips(), 12)
    assert counted(running, Reason.REASON_SOURCE_LIMITED) > 0
    more.result()
    lasted = established.result()
    assert (lasted["errors"], lasted["open"]) == ({}, 6)
    for family in FAMILIES:
        lb.update_service(f"web{family}", new_flow_limit={})
    assert traffic.counted(running.vips(), 20, "free")["errors"] == {}
