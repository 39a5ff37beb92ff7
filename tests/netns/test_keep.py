"""NAT that keeps the client's address: servers see who asks, and their answers come back by the load balancer, which is their router."""

import socket
import time
from collections.abc import Iterator

import pytest

from l4lb.v1.backend_pb2 import DrainResult
from l4lb.v1.reason_pb2 import Reason
from lab import netns
from lab.direct.modes import Mode
from lab.nginx import BULK_BYTES
from lab.services import Balanced
from lab.topology import FAMILIES, PORT_HTTP
from tests.netns.conftest import MODES, counted, downloads_whole, echoes, hears_that_nobody_listens, learnt, set_up, uploads_whole
from tests.netns.test_drain import slow_download_from

LAYOUTS = [*((mode, True) for mode in MODES), ("native-tx", False)]
PORTS = range(21000, 21020)


@pytest.fixture(scope="module", params=LAYOUTS, ids=[f"{mode}-{'two-sided' if sides else 'bridged'}" for mode, sides in LAYOUTS])
def everything(request: pytest.FixtureRequest) -> Iterator[Balanced]:
    mode, two_sided = request.param
    with set_up(mode, two_sided=two_sided, forwarding=Mode.KEEP) as running:
        running.add_web()
        running.add_echoes()
        yield running


@pytest.fixture
def sides() -> Iterator[Balanced]:
    """An interface to the clients and one to the backends, HTTP services of both families."""
    with set_up(two_sided=True, forwarding=Mode.KEEP) as running:
        running.add_web()
        yield running


def logged(running: Balanced, marker: str) -> list[list[str]]:
    """Address and port of each request in the access logs."""
    return [line.split()[3:5] for server in running.lab.nginx.values() for line in server.logged(marker)]


def test_nginx_logs_the_clients_own_address_and_port(everything: Balanced) -> None:
    seen = everything.lab.traffic.counted(everything.vips(), len(PORTS), "seen", ports=PORTS)
    assert (seen["failed"], seen["errors"], len(seen["by_backend"])) == (0, {}, 2)
    client = everything.lab.topology.host("client")
    assert sorted(logged(everything, "seen")) == sorted([client.of(family), str(port)] for family in FAMILIES for port in PORTS)


def test_a_client_may_come_again_from_the_same_port(everything: Balanced) -> None:
    for round_ in range(3):
        again = everything.lab.traffic.counted(everything.vips(), len(PORTS), f"again{round_}", ports=PORTS)
        assert again["errors"] == {}
    assert counted(everything, Reason.REASON_CLIENT_PORT_TAKEN) == 0


def test_tcp_and_udp_echo(everything: Balanced) -> None:
    echoes(everything)


@pytest.mark.parametrize("family", FAMILIES)
def test_bulk_transfers_arrive_whole_and_pass_the_load_balancer_both_ways(everything: Balanced, family: int) -> None:
    assert downloads_whole(everything, family) > BULK_BYTES
    uploads_whole(everything, family)


def test_flows_are_listed_with_the_clients_address_as_their_source(everything: Balanced) -> None:
    load = everything.lab.traffic.connections([everything.lab.topology.vip().v4], 3)
    flows = [flow for page in everything.client.flows("echo-tcp4") for flow in page.flows]
    assert len(flows) >= 3
    assert {(flow.source, flow.source_port == flow.client_port) for flow in flows} == {(everything.lab.topology.host("client").v4, True)}
    assert load.result()["errors"] == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_download_goes_on_through_a_drain_and_new_flows_go_elsewhere(sides: Balanced, family: int) -> None:
    name = f"web{family}/a"
    download = slow_download_from(sides, "a", family)
    assert sides.client.drain(name).drain.initial_flows == 1
    fresh = sides.lab.traffic.counted([sides.lab.topology.vip().of(family)], 60, "fresh", ports=PORTS)
    assert (fresh["errors"], set(fresh["by_backend"])) == ({}, {"backend-b"})
    sides.agent.kill()
    sides.agent.start()
    sides.agent.wait_ready(sides.client)
    result = download.result()
    assert (result["errors"], result["sha256"]) == ({}, sides.lab.digests["slow.bin"])
    assert sides.client.wait_drained(name, timeout=30).drain.result == DrainResult.DRAIN_RESULT_EMPTY
    client = sides.lab.topology.host("client").of(family)
    assert {address for number in range(40) for address, _ in logged(sides, f"slow-{number}")} == {client}


@pytest.mark.parametrize("action", ["cut", "reset"])
def test_at_a_drains_deadline_clients_and_servers_are_told(action: str) -> None:
    with set_up(two_sided=True, forwarding=Mode.KEEP) as running:
        running.add_echoes()
        load = running.lab.traffic.connections([running.lab.topology.vip().v4], 10, interval=0.1)
        on_a = running.client.drain("echo-tcp4/a", timeout=1, at_deadline=action).drain.initial_flows
        assert 0 < on_a < 10
        running.client.wait_drained("echo-tcp4/a", timeout=20)
        time.sleep(1)
        seen = load.result()
        assert (seen["open"], sum(seen["errors"].values())) == (10 - on_a, on_a)
        assert all("ConnectionReset" in text for text in seen["errors"]), seen["errors"]
        assert counted(running, Reason.REASON_DRAIN_RESET if action == "reset" else Reason.REASON_RST_ANSWERED) >= on_a


def known(running: Balanced, address: str) -> bool:
    """Whether the load balancer's host knows the neighbour."""
    return "lladdr" in netns.run(["ip", "-n", running.lab.namespace("lb"), "neigh", "show", "to", address])


@pytest.mark.parametrize("family", FAMILIES)
def test_both_ends_learn_of_a_narrow_way_behind_the_load_balancer(family: int) -> None:
    """The client by the VIP; the backend by the client's address, so that its kernel knows whose path it is. One backend: another would
    not have learnt yet, and offer the client segments that the link to the load balancer does not take."""
    with set_up(two_sided=True, forwarding=Mode.KEEP) as running:
        running.add_web({"a": 1})
        vip, client = (host.of(family) for host in (running.lab.topology.vip(), running.lab.topology.host("client")))
        netns.batch(running.lab.namespace("lb"), ["link set eth0 mtu 1400"])
        download = running.lab.traffic.download(vip, "/bulk.bin", "narrow")
        result = download.result()
        assert (result["errors"], result["sha256"]) == ({}, running.lab.digests["bulk.bin"])
        assert learnt(running, "a", client) == 1400
        assert not known(running, client)
        running.client.update_backend(f"web{family}/a", mtu=1340)
        assert running.lab.traffic.upload(vip, "/upload/narrow", 3_000_000, "narrow")["errors"] == {}
        assert learnt(running, "client", vip) == 1340


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_of_a_backend_reaches_the_client_from_the_vip(sides: Balanced, family: int) -> None:
    """A connected UDP socket hears of it, as it would from the server itself."""
    hears_that_nobody_listens(sides, family)
    assert counted(sides, Reason.REASON_ICMP_TO_CLIENT) > 0


def test_what_is_no_service_of_ours_is_routed_past(sides: Balanced) -> None:
    """A client speaks to a backend itself, and a backend asks a server of its own choice: the host forwards, untouched."""
    address = sides.lab.topology.host("a").v4
    assert sides.lab.traffic.counted([address], 5, "direct")["errors"] == {}
    assert {source for source, _ in logged(sides, "direct")} == {sides.lab.topology.host("client").v4}
    assert counted(sides, Reason.REASON_NOT_A_REPLY) > 0
    assert sides.lab.traffic.counted(sides.vips(), 20, "beside")["errors"] == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_backend_cannot_be_the_client_of_its_service(sides: Balanced, family: int) -> None:
    vip = sides.lab.topology.vip().of(family)

    def ask() -> None:
        with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6) as sock:
            sock.settimeout(0.5)
            sock.connect((vip, PORT_HTTP))

    with pytest.raises(TimeoutError):
        netns.inside(sides.lab.namespace("a"), ask)
    assert counted(sides, Reason.REASON_CLIENT_IS_BACKEND) > 0


def test_two_vips_with_one_backend_port_take_no_client_port_twice(sides: Balanced) -> None:
    """Translated the two connections would be one; the second SYN is refused, and the first connection goes on."""
    other, vip = "10.77.0.101", sides.lab.topology.vip().v4
    netns.batch(sides.lab.namespace("client"), [f"route replace {other}/32 dev eth0"])
    for name in ("web4", "more4"):
        if name == "more4":
            sides.client.create_service(name, vip=other, port=PORT_HTTP, **sides.options)
            sides.add_backend(f"{name}/a", 4)
        else:
            sides.client.update_backend(f"{name}/b", weight=0)

    def ask() -> tuple[bytes, bool]:
        with socket.socket() as first, socket.socket() as second:
            for sock in (first, second):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.settimeout(2)
                sock.bind(("", 22000))
            first.connect((vip, PORT_HTTP))
            second.settimeout(0.5)
            try:
                second.connect((other, PORT_HTTP))
                refused = False
            except TimeoutError:
                refused = True
            first.sendall(b"GET /whoami HTTP/1.0\r\n\r\n")
            answer = b""
            while piece := first.recv(4096):
                answer += piece
            return answer, refused

    answer, refused = netns.inside(sides.lab.namespace("client"), ask)
    assert answer.endswith(b"backend-a\n")
    assert refused
    assert counted(sides, Reason.REASON_CLIENT_PORT_TAKEN) > 0
