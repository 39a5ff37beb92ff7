"""The network changes under the load balancer."""

import time
from collections.abc import Callable

from l4lb.v1.agent_pb2 import Agent as AgentInfo
from lab import netns
from lab.services import Balanced, programs
from lab.topology import FAMILIES
from tests.netns.conftest import set_up

MAC = "02:00:00:00:4b:17"


def eventually(condition: Callable[[], bool], within: float = 10.0) -> bool:
    """Whether it becomes true."""
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_a_backend_moves_to_another_address_and_mac_and_the_same_program_serves_it(web: Balanced) -> None:
    before = programs(web.client.agent())
    web.lab.move("b", web.lab.topology.spare(), MAC)
    for family in FAMILIES:
        moved = web.client.update_backend(f"web{family}/b", address=web.lab.topology.spare().of(family))
        assert (moved.reconciling, moved.next_hop.mac) == (False, MAC)
    seen = web.lab.traffic.counted(web.vips(), 100, "moved")
    assert (seen["errors"], set(seen["by_backend"])) == ({}, {"backend-a", "backend-b"})
    assert programs(web.client.agent()) == before


def test_a_changed_neighbour_is_followed(web: Balanced) -> None:
    web.lab.change_mac("b", MAC)
    for family in FAMILIES:
        assert eventually(lambda family=family: web.client.get_backend(f"web{family}/b").next_hop.mac == MAC)  # type: ignore[misc]
    assert eventually(lambda: not web.client.get_backend("web4/b").reconciling)
    seen = web.lab.traffic.counted(web.vips(), 100, "followed")
    assert (seen["errors"], set(seen["by_backend"])) == ({}, {"backend-a", "backend-b"})


def test_flows_go_on_when_the_router_gets_another_mac() -> None:
    with set_up(routed=True) as running:
        running.add_echoes()
        running.add_web()
        load = running.lab.traffic.connections(running.vips(), 10, interval=0.1)
        running.lab.change_mac("router", MAC)  # of its interface on the load balancer's link
        assert eventually(lambda: running.client.get_backend("web6/a").next_hop.mac == MAC)
        seen = running.lab.traffic.counted(running.vips(), 50, "after")
        messages = load.result()
        assert (seen["errors"], messages["errors"], messages["open"]) == ({}, {}, 10)


def test_a_backend_that_does_not_answer_gets_no_slots_until_it_does(running: Balanced) -> None:
    running.add_service("web4", 4, protocol="tcp", port=80, weights={"a": 1})
    spare = running.lab.topology.spare()
    added = running.client.add_backend("web4/late", address=spare.v4)
    assert added.reconciling
    assert (added.slot_share, added.wanted_share > 0) == (0, True)
    vip = [running.lab.topology.vip().v4]
    assert running.lab.traffic.counted(vip, 40, "early")["by_backend"] == {"backend-a": 40}
    running.lab.move("b", spare, MAC)
    assert eventually(lambda: not running.client.get_backend("web4/late").reconciling, within=30)
    seen = running.lab.traffic.counted(vip, 100, "late")
    assert (seen["errors"], set(seen["by_backend"])) == ({}, {"backend-a", "backend-b"})


def test_an_interface_that_does_not_exist_yet_is_attached_when_it_appears_and_again_when_it_returns() -> None:
    with set_up(interfaces=("eth0", "eth9"), wait=False) as running:

        def agent() -> AgentInfo:
            return running.client.agent()

        running.agent.wait_answers()
        assert eventually(lambda: bool(agent().interfaces) and agent().interfaces[0].program_id > 0)
        assert not agent().ready
        assert "eth9" in agent().not_ready_reason
        running.add_web()
        assert running.lab.traffic.counted(running.vips(), 10, "one")["errors"] == {}
        netns.batch(running.lab.namespace("lb"), ["link add name eth9 type veth peer name eth9peer", "link set eth9 up"])
        assert eventually(lambda: agent().ready), agent().not_ready_reason
        assert len(programs(agent())) == 1
        netns.batch(running.lab.namespace("lb"), ["link del eth9"])
        assert eventually(lambda: not agent().ready)
        assert running.lab.traffic.counted(running.vips(), 10, "gone")["errors"] == {}
        netns.batch(running.lab.namespace("lb"), ["link add name eth9 type veth peer name eth9peer", "link set eth9 up"])
        assert eventually(lambda: agent().ready), agent().not_ready_reason


def test_statistics_equal_the_access_logs(web: Balanced) -> None:
    web.lab.traffic.counted(web.vips(), 100, "stats")
    [sample] = web.client.stats(samples=1)
    flows = {row.backend: row.traffic.flows for row in sample.backends}
    for name, server in web.lab.nginx.items():
        logged = server.logged("stats")
        by_family = {6: sum(":" in line.split()[3] for line in logged)}
        by_family[4] = len(logged) - by_family[6]
        for family in FAMILIES:
            assert flows[f"services/web{family}/backends/{name}"] == by_family[family]
    [service] = [row for row in sample.services if row.service == "services/web4"]
    assert service.traffic.flows == 100
    assert service.traffic.packets_in >= 400
    assert service.traffic.bytes_out > service.traffic.bytes_in
