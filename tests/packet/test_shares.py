"""Which backend a new flow goes to: the slot of the Python mirror of the hash, in every ring size, in the weights' shares."""

import dataclasses
import math

import pytest
from scapy.layers.inet import TCP, UDP

from l4lb_agent.dataplane import syscall
from l4lb_agent.model import hashing, layout
from l4lb_agent.model.reasons import Reason
from tests.packet.balancer import SLOT_SECRET, Balancer, address
from tests.packet.bed import SIZES
from tests.packet.conftest import Make, furnish
from tests.packet.wire import BACKEND_PORT, NUMBER, V4, V6, VIP_PORT, Family, each_family, each_protocol, from_client

MANY = 31  # distinct backends, so that a wrong slot is a wrong backend


def spread(lb: Balancer, family: Family, kind: type, size: int) -> int:
    """A ring of `size` with MANY backends in turn for the family's service; returns the first backend's id."""
    service = 1 + 2 * (family is V6) + (kind is UDP)
    for number in range(MANY):
        text = f"203.0.113.{100 + number}" if family is V4 else f"2001:db8:2::{100 + number:x}"
        lb.backend(20 + number, text, BACKEND_PORT)
    lb.ring(3, [20 + number for number in range(MANY)], size)
    lb.service(service, family.vip, VIP_PORT, NUMBER[kind], now=3, size=size)
    return 20


def chosen(lb: Balancer) -> int:
    """Backend of the only flow; which is forgotten."""
    (flow,) = lb.flows()
    lb.erase()
    return flow.backend


@each_family
@each_protocol
@pytest.mark.parametrize("size", layout.RING_SIZES)
def test_the_program_takes_the_slot_that_the_model_says(lb: Balancer, family: Family, kind: type, size: int) -> None:
    first = spread(lb, family, kind, size)
    for number in range(60):
        client = f"198.51.100.{number + 1}" if family is V4 else f"2001:db8:1::{number * 791:x}"
        port = 1024 + number * 1009
        assert lb.send(from_client(family, kind, client=client, port=port, flags="S")).reason is Reason.FLOW_CREATED
        slot = lb.slot(client, port, family.vip, VIP_PORT, NUMBER[kind], size)
        assert chosen(lb) == first + slot % MANY


@pytest.fixture(scope="module")
def edges() -> dict[tuple[int, int], int]:
    """A client's port and the VIP's port by (ring size, slot), for the first and last slot of each ring."""
    wanted = {(size, slot) for size in layout.RING_SIZES for slot in (0, size - 1)}
    client, vip = address(V4.client), address(V4.vip)
    found: dict[tuple[int, int], int] = {}
    for number in range(1 << 32):
        hashed = hashing.slot_hash(client, vip, number & 0xFFFF, number >> 16, 6, SLOT_SECRET)
        if not 0x400 < hashed >> 16 < 0xFF00:  # only these can be the edge of any ring; saves most of the time
            found |= {(size, hashed * size >> 32): number for size in layout.RING_SIZES if (size, hashed * size >> 32) in wanted}
            if len(found) == len(wanted):
                break
    return found


@pytest.mark.parametrize("size", layout.RING_SIZES)
@pytest.mark.parametrize("last", [False, True])
def test_the_first_and_the_last_slot_of_a_ring_are_used(lb: Balancer, edges: dict[tuple[int, int], int], size: int, last: bool) -> None:
    """All other slots are empty."""
    number = edges[size, size - 1 if last else 0]
    lb.ring(3, [1] + [0] * (size - 2) + [2], size)
    lb.service(1, V4.vip, number >> 16, 6, now=3, size=size)
    assert lb.send(from_client(V4, port=number & 0xFFFF, vip_port=number >> 16, flags="S")).reason is Reason.FLOW_CREATED
    assert chosen(lb) == (2 if last else 1)


@each_family
@pytest.mark.parametrize("sequential", ["ports", "clients"])
def test_new_flows_are_shared_by_weight(make: Make, family: Family, sequential: str) -> None:
    """Weights 3:1, sequential ports or addresses: within four standard errors."""
    lb = make(sizes=dataclasses.replace(SIZES, flows=2048))
    furnish(lb)
    heavy, light = (1, 2) if family is V4 else (4, 5)
    lb.ring(1 if family is V4 else 2, [heavy, heavy, heavy, light])
    raw = bytearray(bytes(from_client(family, TCP, flags="S")))
    addresses, ports = (28, 34) if family is V4 else (36, 54)  # the client's last two bytes, its port
    whole = int.from_bytes(raw[18:20], "big") + int.from_bytes(raw[addresses : addresses + 2], "big")
    count = 2000
    for number in range(count):
        at = ports if sequential == "ports" else addresses
        raw[at : at + 2] = (20000 + number).to_bytes(2, "big")
        if at == addresses and family is V4:
            raw[18:20] = (whole - 20000 - number).to_bytes(2, "big")  # the identification: keeps the header's checksum right
        syscall.prog_test_run(lb.generation.program.fileno(), raw, ifindex=1)
    flows = [lb.traffic("backend_counters", number)[4] for number in (heavy, light)]
    assert sum(flows) == count
    assert abs(flows[0] - 0.75 * count) <= 4 * math.sqrt(count * 0.75 * 0.25)


def test_the_word_names_the_ring(lb: Balancer) -> None:
    """One 64-bit store moves every new flow."""
    lb.ring(3, [2])
    lb.send(from_client(V4, flags="S"))
    lb.service(1, V4.vip, VIP_PORT, 6, now=3)
    lb.send(from_client(V4, port=50000, flags="S"))
    assert sorted(flow.backend for flow in lb.flows()) == [1, 2]


def test_the_at_risk_bit_is_no_part_of_a_backends_id(lb: Balancer) -> None:
    lb.ring(1, [layout.SLOT_AT_RISK | 1])
    lb.send(from_client(V4, flags="S"))
    assert chosen(lb) == 1


def test_services_and_addresses_are_found_whichever_bucket_they_are_in(make: Make) -> None:
    """Two buckets only, and sixteen entries for their sixteen places: half of them are not where they are looked for first."""
    lb = make()
    furnish(lb, index_mask=1)
    numbers = list(range(5, 13))
    for number in numbers:
        lb.service(number, V4.vip, 1000 + number, 6, now=1)
    for number in numbers:
        result = lb.send(from_client(V4, port=2000 + number, vip_port=1000 + number, flags="S"))
        assert result.reason is Reason.FLOW_CREATED
    assert sorted(flow.element.service for flow in lb.flows()) == numbers
    for family in (V4, V6):
        assert lb.send(from_client(family, TCP, flags="S")).reason is Reason.FLOW_CREATED
        assert lb.send(from_client(family, UDP, b"q")).reason is Reason.FLOW_CREATED
        assert lb.send(from_client(family, TCP, vip=family.snat, flags="S")).reason is Reason.NO_FLOW
    assert lb.send(from_client(V4, vip_port=999, flags="S")).reason is Reason.NO_SERVICE
    assert lb.send(from_client(V4, vip="192.0.2.99", flags="S")).reason is Reason.FOREIGN


def test_a_candidate_with_the_right_tag_and_another_address_is_not_ours(lb: Balancer) -> None:
    """Tags are 32 bits of a hash: equal ones must not decide."""
    lb.write("addresses", 1, bytes(layout.OwnedAddress(address=(layout.U8 * 16)(*range(16)), flags=layout.ADDRESS_VIP)))
    for place in range(lb.specs["addresses"].max_entries):
        element = layout.OwnedAddress.from_buffer_copy(lb.read("addresses", place))
        if element.flags:
            element.address[15] ^= 1
            lb.write("addresses", place, bytes(element))
    assert lb.send(from_client(V4, flags="S")).reason is Reason.FOREIGN


def test_a_candidate_with_the_right_tag_and_another_port_is_not_the_service(lb: Balancer) -> None:
    element = layout.Service.from_buffer_copy(lb.read("services", 1))
    element.port ^= 0x100
    lb.write("services", 1, bytes(element))
    assert lb.send(from_client(V4, flags="S")).reason is Reason.NO_SERVICE


def test_a_service_that_is_not_present_is_none(lb: Balancer) -> None:
    element = layout.Service.from_buffer_copy(lb.read("services", 1))
    element.word &= ~layout.SERVICE_PRESENT
    lb.write("services", 1, bytes(element))
    assert lb.send(from_client(V4, flags="S")).reason is Reason.NO_SERVICE
