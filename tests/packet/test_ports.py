"""SNAT ports: kept, searched, refused."""

import dataclasses
from collections import Counter

import pytest

from l4lb_agent.model.reasons import Reason
from tests.packet.balancer import Balancer, address
from tests.packet.bed import SIZES
from tests.packet.conftest import Make, furnish
from tests.packet.test_tcp_states import play
from tests.packet.wire import V4, V6, Family, each_family, each_protocol, from_backend, from_client, same, to_backend, to_client

STATE = ("flows", "flow_index", "unanswered", "spare", "pool", "port_full")
OTHER = {4: "198.51.100.8", 6: "2001:db8:1::8"}


def snat_ports(lb: Balancer) -> list[int]:
    """SNAT ports in use."""
    return [record.snat_port for record in lb.records()]


@each_family
@each_protocol
@pytest.mark.parametrize("own", [1024, 1025, 40000, 65535])
def test_a_clients_port_is_kept(lb: Balancer, family: Family, kind: type, own: int) -> None:
    assert lb.send(from_client(family, kind, port=own, flags="S")).reason is Reason.FLOW_CREATED
    assert snat_ports(lb) == [own]


@pytest.mark.parametrize("own", [1, 80, 1023])
def test_a_privileged_port_is_never_used_for_snat(lb: Balancer, own: int) -> None:
    lb.configure(port_low=1)
    lb.send(from_client(V4, port=own, flags="S"))
    assert own not in snat_ports(lb)


def test_every_port_is_within_the_configured_range(lb: Balancer) -> None:
    lb.configure(port_low=20000, port_high=20999)
    for own in range(1024, 65536, 1021):
        assert lb.send(from_client(V4, port=own, flags="S")).reason in (Reason.FLOW_CREATED, Reason.FLOW_TABLE_FULL)
    ports = snat_ports(lb)
    assert len(ports) > 50
    assert all(20000 <= number <= 20999 for number in ports)
    assert len(set(ports)) == len(ports)


@each_family
@each_protocol
def test_two_clients_with_one_port_get_two_and_their_own_answers(lb: Balancer, family: Family, kind: type) -> None:
    lb.send(from_client(family, kind, flags="S"))
    lb.send(from_client(family, kind, client=OTHER[family.version], flags="S"))
    first, second = sorted(lb.flows(), key=lambda flow: flow.client != address(family.client))
    assert first.snat_port == 40000
    assert second.snat_port != 40000
    same(lb.send(from_backend(family, kind, flags="SA")).data, to_client(family, kind, flags="SA"))
    answer = lb.send(from_backend(family, kind, port=second.snat_port, flags="SA"))
    assert answer.reason is Reason.TO_CLIENT
    assert second.client == address(OTHER[family.version])


def test_one_port_serves_every_backend(lb: Balancer) -> None:
    lb.ring(1, [1, 2, 3])
    lb.configure(port_low=5000, port_high=5000, second_multiplier=0)
    reasons = [lb.send(from_client(V4, port=number, flags="S")).reason for number in range(2000, 2030)]
    assert reasons.count(Reason.FLOW_CREATED) == 3
    assert {flow.backend_address for flow in lb.flows()} == {address(text) for text in V4.backends}


def test_a_busy_port_is_looked_for_on_the_other_addresses_too(lb: Balancer) -> None:
    second = "192.0.2.21"
    lb.snat(V4.snat, second, V6.snat)
    lb.configure(port_low=5000, port_high=5000, second_multiplier=0)
    for number in range(2000, 2030):
        lb.send(from_client(V4, port=number, flags="S"))
    assert {flow.snat for flow in lb.flows()} == {address(V4.snat), address(second)}


@each_family
def test_an_exhausted_backend_refuses_new_flows_and_keeps_old_ones(lb: Balancer, family: Family) -> None:
    lb.configure(port_low=40000, port_high=40000, second_multiplier=0)  # time stands still: the handshake has just begun
    lb.send(from_client(family, flags="S", seq=1))
    result = lb.send(from_client(family, client=OTHER[family.version], flags="S"))
    assert result.reason is Reason.NO_SOURCE_PORT
    assert len(lb.records()) == 1
    same(lb.send(from_client(family, flags="A")).data, to_backend(family, flags="A"))


@each_family
@each_protocol
def test_a_flow_that_nobody_has_answered_for_a_while_gives_up_its_port(lb: Balancer, family: Family, kind: type) -> None:
    lb.configure(port_low=40000, port_high=40000, second_multiplier=0)
    lb.send(from_client(family, kind, flags="S"))
    lb.age(1)
    newcomer = OTHER[family.version]
    same(lb.send(from_client(family, kind, client=newcomer, flags="S")).data, to_backend(family, kind, flags="S"))
    (one,) = lb.records()
    assert one.client == address(newcomer)
    assert lb.tracking(one.element.service)[-1] == 1, "evicted"
    assert lb.send(from_backend(family, kind, flags="SA")).reason is Reason.TO_CLIENT
    assert not marks(lb)


@each_family
def test_what_has_been_answered_gives_up_no_port(lb: Balancer, family: Family) -> None:
    lb.configure(port_low=40000, port_high=40000, second_multiplier=0)
    play(lb, "c:S b:SA c:A", family)
    lb.age(1)
    assert lb.send(from_client(family, client=OTHER[family.version], flags="S")).reason is Reason.NO_SOURCE_PORT
    assert len(marks(lb)) == 1
    same(lb.send(from_client(family, flags="A")).data, to_backend(family, flags="A"))


def test_the_oldest_of_three_gives_up_its_port(lb: Balancer) -> None:
    """Of those that are the eighths of all by their age: the younger one is, the less probably it has to go."""
    lb.configure(port_low=40000, port_high=40007, second_multiplier=0)
    for own in range(40000, 40008):
        lb.send(from_client(V4, port=own, flags="S"))
        if own < 40007:
            lb.age(1)
    lb.age(1)
    gone = Counter[int]()
    for number in range(40):
        before = {one.client_port: one for one in lb.records()}
        state = {name: lb.elements(name) for name in STATE}
        assert lb.send(from_client(V4, client=f"203.0.113.{number}", port=2000, flags="S")).reason is Reason.FLOW_CREATED
        gone.update(set(before) - {one.client_port for one in lb.records()})
        for name, elements in state.items():
            for place in elements.keys() | lb.elements(name).keys():
                lb.write(name, place, elements.get(place, bytes(lb.specs[name].value_size)))
    assert gone.total() == 40
    assert gone[40000] >= 8
    assert gone[40006] + gone[40007] <= 3


def test_under_a_flood_that_takes_all_ports_new_clients_come_in(make: Make) -> None:
    """Four times as many SYNs as there are ports, four a second."""
    lb = make(sizes=dataclasses.replace(SIZES, flows=256))
    furnish(lb)
    lb.configure(port_low=40000, port_high=40031, second_multiplier=0)
    reasons = Counter[Reason]()
    for number in range(128):
        reasons[lb.send(from_client(V4, client=f"203.0.113.{number % 250}", port=2000 + number, flags="S")).reason] += 1
        if number % 4 == 3:
            lb.age(1)
    assert reasons[Reason.FLOW_CREATED] >= 120, reasons
    assert len(lb.records()) <= 32


def marks(lb: Balancer) -> dict[int, int]:
    """Places of port_full that are not zero."""
    found = {}
    for place in range(4096):
        value = int.from_bytes(lb.read("port_full", place), "little")
        if value:
            found[place] = value
    return found


def test_after_a_failed_search_syns_are_refused_without_another_for_a_tenth_of_a_second(lb: Balancer) -> None:
    """One port is looked at, where a search would look at eight and find the one of two that is free."""
    lb.configure(port_low=40000, port_high=40001, second_multiplier=0)  # time stands still
    lb.send(from_client(V4, flags="S"))
    lb.send(from_client(V4, client=OTHER[4], flags="S", port=40001))
    others = [from_client(V4, client=f"198.51.100.{number}", flags="S", port=2000) for number in range(20, 40)]
    assert lb.send(others[0]).reason is Reason.NO_SOURCE_PORT
    ((place, until),) = marks(lb).items()
    assert until == 2, "in 1/16 s from now"
    reasons = []
    for other in others:
        for record in lb.records():
            if record.snat_port == 40001:
                lb.forget(record)
        lb.write("port_full", place, until.to_bytes(4, "little"))
        reasons.append(lb.send(other).reason)
    assert set(reasons) == {Reason.NO_SOURCE_PORT, Reason.FLOW_CREATED}


@each_family
def test_after_a_failed_search_the_one_that_is_looked_at_still_gives_up_its_port(lb: Balancer, family: Family) -> None:
    lb.configure(port_low=40000, port_high=40000, second_multiplier=0)  # time stands still: the mark stays
    lb.send(from_client(family, flags="S"))
    other = from_client(family, client=OTHER[family.version], flags="S")
    assert lb.send(other).reason is Reason.NO_SOURCE_PORT
    assert len(marks(lb)) == 1
    lb.age(1)
    same(lb.send(other).data, to_backend(family, flags="S"))
    (one,) = lb.records()
    assert one.client == address(OTHER[family.version])
    assert not marks(lb)


def test_after_a_failed_search_only_one_is_looked_at(lb: Balancer) -> None:
    """Of two ports the younger one's flow keeps it: a SYN that looks at that one is refused, though the older would give its up."""
    lb.configure(port_low=40000, port_high=40001, second_multiplier=0)
    lb.send(from_client(V4, flags="S"))
    lb.send(from_client(V4, client=OTHER[4], flags="S", port=40001))
    assert lb.send(from_client(V4, client="198.51.100.20", flags="S", port=2000)).reason is Reason.NO_SOURCE_PORT
    ((place, until),) = marks(lb).items()
    lb.age(1)
    lb.forget(next(record for record in lb.records() if record.snat_port == 40001))
    lb.write("port_full", place, bytes(4))
    lb.send(from_client(V4, client="198.51.100.21", flags="S", port=40001))
    state = {name: lb.elements(name) for name in STATE}
    reasons = Counter[Reason]()
    for number in range(20, 60):
        lb.write("port_full", place, until.to_bytes(4, "little"))
        reasons[lb.send(from_client(V4, client=f"203.0.113.{number}", flags="S", port=2000)).reason] += 1
        for name, elements in state.items():
            for key in elements.keys() | lb.elements(name).keys():
                lb.write(name, key, elements.get(key, bytes(lb.specs[name].value_size)))
    assert set(reasons) == {Reason.NO_SOURCE_PORT, Reason.FLOW_CREATED}, reasons
    assert min(reasons.values()) >= 8, reasons


def test_a_look_that_finds_a_free_port_ends_the_refusals(lb: Balancer) -> None:
    lb.configure(port_low=40000, port_high=40000, second_multiplier=0)  # time stands still
    lb.send(from_client(V4, flags="S"))
    other = from_client(V4, client=OTHER[4], flags="S")
    assert lb.send(other).reason is Reason.NO_SOURCE_PORT
    assert lb.send(other).reason is Reason.NO_SOURCE_PORT
    assert len(marks(lb)) == 1
    lb.erase()
    assert lb.send(other).reason is Reason.FLOW_CREATED
    assert not marks(lb)


def test_a_backend_with_half_of_its_ports_taken_refuses_hardly_anybody(make: Make) -> None:
    """A search of eight fails there for one SYN in 250: those that come after it must not pay for that."""
    lb = make(sizes=dataclasses.replace(SIZES, flows=4096))
    furnish(lb)
    lb.configure(port_low=20000, port_high=21023, second_multiplier=0)  # time stands still: a mark would never end
    reasons = [lb.send(from_client(V4, client=f"198.51.{100 + n % 7}.{1 + n % 241}", port=1024 + n, flags="S")).reason for n in range(640)]
    assert len(lb.records()) > 600
    assert reasons.count(Reason.NO_SOURCE_PORT) < 20


@pytest.mark.parametrize("mark", [3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_mark_of_long_ago_refuses_nothing(lb: Balancer, mark: int) -> None:
    """The counter of sixteenths of a second starts again every eight years: what lies before it may look like what comes."""
    for place in range(4096):
        lb.write("port_full", place, mark.to_bytes(4, "little"))
    lb.configure(second_multiplier=0)
    assert lb.send(from_client(V4, flags="S")).reason is Reason.FLOW_CREATED


@each_family
def test_without_a_snat_address_of_the_family_there_are_no_flows(lb: Balancer, family: Family) -> None:
    lb.configure(**{f"snat_v{family.version}": 0})
    assert lb.send(from_client(family, flags="S")).reason is Reason.NO_SNAT_ADDRESS
    other = V6 if family is V4 else V4
    assert lb.send(from_client(other, flags="S")).reason is Reason.FLOW_CREATED
