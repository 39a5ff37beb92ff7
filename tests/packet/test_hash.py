"""What of a packet picks its slot: the whole tuple, the source, or source and destination; in every mode as the Python mirror says."""

from collections.abc import Iterator

import pytest
from scapy.layers.inet import TCP, UDP

from l4lb_agent.model import layout
from l4lb_agent.model.reasons import Reason
from tests.packet.balancer import Balancer
from tests.packet.conftest import Make
from tests.packet.direct import SERVICE
from tests.packet.modes import EVERY_MODE, FIRST, MANY, backend_of, every_mode, furnish, spread
from tests.packet.wire import NUMBER, V4, VIP_PORT, Family, each_family, each_protocol, from_client

HASHES = {"tuple": layout.HASH_TUPLE, "source": layout.HASH_SOURCE, "source-destination": layout.HASH_SOURCE_DESTINATION}
OTHER_VIP = {4: "192.0.2.11", 6: "2001:db8::11"}

each_hash = pytest.mark.parametrize("by", HASHES)


def hashing(make: Make, mode: str, family: Family, by: str, flags: int = 0) -> Balancer:
    """The services of the family with MANY backends and that hash."""
    lb = furnish(make, mode)
    spread(lb, family, mode, flags | HASHES[by] << layout.SERVICE_HASH_SHIFT)
    return lb


def clients(family: Family) -> Iterator[str]:
    for number in range(20):
        yield f"198.51.100.{number + 1}" if family is V4 else f"2001:db8:1::{number * 791:x}"


def chosen(lb: Balancer, family: Family, client: str, port: int, kind: type = TCP, **more: object) -> int:
    """Where a new flow goes."""
    payload = b"" if kind is TCP else b"q"
    return backend_of(lb.send(from_client(family, kind, payload, client=client, port=port, flags="S", **more)))  # type: ignore[arg-type]


@each_family
@each_protocol
@each_hash
@every_mode
def test_the_program_takes_the_slot_that_the_model_says(make: Make, mode: str, family: Family, kind: type, by: str) -> None:
    lb = hashing(make, mode, family, by)
    for number, client in enumerate(clients(family)):
        port = 1024 + number * 1009
        slot = lb.slot(client, port, family.vip, VIP_PORT, NUMBER[kind], kind=HASHES[by])
        assert chosen(lb, family, client, port, kind) == FIRST + slot % MANY


@each_family
@pytest.mark.parametrize("by", ["source", "source-destination"])
@every_mode
def test_all_flows_of_a_client_go_to_one_backend_whatever_their_ports_and_protocol(make: Make, mode: str, family: Family, by: str) -> None:
    lb = hashing(make, mode, family, by)
    for client in list(clients(family))[:4]:
        assert len({chosen(lb, family, client, 2000 + port, kind) for port in range(5) for kind in (TCP, UDP)}) == 1
    assert len({chosen(lb, family, client, 3000) for client in clients(family)}) > 10


@each_family
@every_mode
def test_a_client_hashed_by_source_keeps_its_slot_at_another_vip_and_by_both_it_does_not(make: Make, mode: str, family: Family) -> None:
    same = {}
    for by in ("source", "source-destination"):
        lb = hashing(make, mode, family, by)
        other = OTHER_VIP[family.version]
        flags = HASHES[by] << layout.SERVICE_HASH_SHIFT
        lb.own(other, layout.ADDRESS_VIP)
        lb.service(9, other, VIP_PORT, 6, now=3, mode=EVERY_MODE[mode], flags=flags)
        port = 4001 if mode == "keep" else 4000  # which its source address needs there, the backend being the same
        same[by] = sum(chosen(lb, family, c, 4000) == chosen(lb, family, c, port, vip=other) for c in clients(family))
    assert same["source"] == 20
    assert same["source-destination"] < 5


@each_family
@each_hash
@pytest.mark.parametrize("mode", ["dsr", "ipip", "gue", "fou"])
def test_flows_of_one_slot_have_entries_of_their_own(make: Make, mode: str, family: Family, by: str) -> None:
    """A change of the ring moves none of them, and the flows that come later go where it says now."""
    lb = hashing(make, mode, family, by, layout.SERVICE_TRACK_ALL)
    port, client = 5000, family.client
    flows = range(port, port + 20)
    before = {one: chosen(lb, family, client, one) for one in flows}
    lb.ring(3, [FIRST + (number + 1) % MANY for number in range(MANY)])
    for one in flows:
        followed = lb.send(from_client(family, TCP, b"", client=client, port=one, flags="A", seq=1))
        assert (followed.reason, backend_of(followed)) == (Reason.TO_BACKEND, before[one])
    slot = lb.slot(client, port + 20, family.vip, VIP_PORT, 6, kind=HASHES[by])
    assert chosen(lb, family, client, port + 20) == FIRST + (slot + 1) % MANY
    assert lb.tracking(SERVICE[family.version, 6]) == (41, 21, 0)
