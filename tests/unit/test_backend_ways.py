"""Which backends packets can be sent to, by mode, and why not to the others."""

from dataclasses import replace

import pytest

from l4lb_agent.control import start
from l4lb_agent.model import build, layout
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.service import Mode, OuterSource
from l4lb_agent.model.tables import Tables, array_key
from l4lb_agent.model.ways.way import missing, way
from l4lb_agent.system import routing
from tests.fakes.values import SECRETS, address, backend, config, hop, service

AT, OWN, VIP = address("10.0.0.1"), address("10.0.0.250"), address("192.0.2.1")
TUNNEL = service("web", mode=Mode.IPIP, outer_source=OuterSource.REAL)
ONE = backend("web", "a", str(AT))
ROUTED = replace(hop(), gateway=address("10.0.0.254"))


@pytest.mark.parametrize(
    ("asked", "found", "local", "own", "why"),
    [
        (service("web"), hop(), (), (), ""),
        (service("web"), None, (), (), "is not resolved"),
        (service("web"), ROUTED, (), (), ""),
        (service("web"), replace(hop(), trouble="three tags"), (), (), "three tags"),
        (service("web", mode=Mode.DSR), hop(), (), (), ""),
        (service("web", mode=Mode.DSR), ROUTED, (), (), "behind the router 10.0.0.254"),
        (service("web", mode=Mode.DSR), None, (AT, VIP), (), ""),
        (service("web", mode=Mode.DSR), None, (AT,), (), "run ip address add 192.0.2.1/32 dev lo"),
        (service("web", mode=Mode.KEEP), None, (AT, VIP), (), "is not resolved"),
        (TUNNEL, hop(source=OWN), (), (), ""),
        (TUNNEL, hop(), (), (), "no IPv4 address"),
        (TUNNEL, hop(), (), (address("2001:db8::1"),), "no IPv4 address"),
        (TUNNEL, hop(source=VIP), (VIP,), (), "no IPv4 address, beside the VIP"),
        (TUNNEL, hop(), (), (OWN,), ""),
        (replace(TUNNEL, outer_source=OuterSource.SPREAD), hop(), (), (), ""),
    ],
)
def test_a_way_is_missing_for_a_reason(asked: object, found: object, local: object, own: object, why: str) -> None:
    hops = {AT: found} if found else {}
    said = missing(ONE, asked, hops, local, own)  # type: ignore[arg-type]
    assert why in said if why else not said
    assert way(ONE, asked, hops, local, own) == (None if said else found)  # type: ignore[arg-type]


@pytest.mark.parametrize("own", [(), (OWN,)])
def test_who_gets_slots_has_a_way_in_its_element(own: tuple[object, ...]) -> None:
    """With nothing to send from a packet would find slots, and be dropped."""
    world = build.World(config(outer_source=own), SECRETS, 1 << 24, next_hops={AT: hop()})
    asked = Desired(1, {TUNNEL.name: TUNNEL}, {ONE.name: ONE})
    slotless = build.without_way(asked, world.next_hops, world.local, world.config.outer_source)
    element = layout.Backend.from_buffer_copy(build.backend_element(ONE, TUNNEL, 1, world))
    assert slotless == (frozenset() if own else {ONE.name})
    assert bool(element.flags & layout.BACKEND_ELIGIBLE) == bool(element.ifindex) == bool(own)


def test_what_is_adopted_has_the_outer_source_that_any_element_of_the_address_names() -> None:
    """Elements of a NAT service, here the first and the last, name none."""
    nat = service("nat")
    world = build.World(config(), SECRETS, 1 << 24, next_hops={AT: hop(source=OWN)})
    elements = [build.backend_element(ONE, asked, 1, world) for asked in (nat, TUNNEL, nat)]
    [adopted] = start.next_hops(Tables({"backends": {array_key(number): one for number, one in enumerate(elements)}})).values()
    assert adopted.source == OWN


SOURCES = [("192.0.2.1", True), ("fd00::1", True), ("169.254.1.1", False), ("fe80::1", False), ("::1", False), ("", False)]


@pytest.mark.parametrize(("text", "kept"), SOURCES)
def test_what_means_something_on_one_link_or_host_alone_is_no_source(text: str, kept: bool) -> None:
    assert routing.source({"prefsrc": text} if text else {}) == (address(text) if kept else None)
