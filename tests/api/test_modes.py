"""Forwarding modes as the API takes, shows and refuses them."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

import l4lb
from l4lb.v1 import service_pb2 as pb
from l4lb.v1 import virtual_service_pb2
from tests.api.test_agent import Node, node
from tests.api.test_requests import WEB, create, refusal
from tests.fakes.values import address, hop

__all__ = ["node"]
DSR, ENCAP = virtual_service_pb2.FORWARDING_MODE_DSR, virtual_service_pb2.FORWARDING_MODE_ENCAP
Encap = virtual_service_pb2.Encap


def made(stub: Any, **given: Any) -> virtual_service_pb2.VirtualService:
    return stub.CreateVirtualService(create(**given)).service


def test_a_nat_service_shows_nothing_of_other_modes(stub: Any) -> None:
    shown = made(stub)
    assert shown.forwarding_mode == virtual_service_pb2.FORWARDING_MODE_NAT
    assert not any(shown.HasField(field) for field in ("encap", "change_window", "down_grace"))
    assert shown.flow_tracking == virtual_service_pb2.FLOW_TRACKING_UNSPECIFIED


def test_dsr_tracks_what_changes_put_at_risk_and_its_window_is_the_idle_timeout(stub: Any) -> None:
    shown = made(stub, forwarding_mode=DSR, idle_timeout=Duration(seconds=77))
    assert (shown.forwarding_mode, shown.flow_tracking) == (DSR, virtual_service_pb2.FLOW_TRACKING_CHANGES)
    assert (shown.change_window.seconds, shown.down_grace.seconds, shown.HasField("encap")) == (77, 10, False)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (Encap(), Encap(encapsulation=1, outer_source=1)),
        (Encap(encapsulation=1, outer_source=2), Encap(encapsulation=1, outer_source=2)),
        (Encap(encapsulation=2), Encap(encapsulation=2, port=6080, outer_source=1)),
        (Encap(encapsulation=3, port=5555, outer_checksum=True), Encap(encapsulation=3, port=5555, outer_source=1, outer_checksum=True)),
    ],
)
def test_encap_shows_its_outer_header_with_what_was_left_out(stub: Any, given: Encap, shown: Encap) -> None:
    assert made(stub, forwarding_mode=ENCAP, encap=given).encap == shown


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"encap": Encap()}, "service.encap"),
        ({"encap": Encap(), "forwarding_mode": DSR}, "service.encap"),
        ({"flow_tracking": 1}, "service.flow_tracking"),
        ({"flow_tracking": 2}, "service.flow_tracking"),
        ({"forwarding_mode": ENCAP, "encap": Encap(encapsulation=2, port=65536)}, "service.encap.port"),
        ({"forwarding_mode": ENCAP, "encap": Encap(port=6080)}, "service.encap.port"),
        ({"forwarding_mode": ENCAP, "encap": Encap(encapsulation=1, outer_checksum=True)}, "service.encap.outer_checksum"),
        ({"forwarding_mode": DSR, "change_window": Duration(seconds=0)}, "service.change_window"),
        ({"forwarding_mode": DSR, "change_window": Duration(seconds=1, nanos=1)}, "service.change_window"),
        ({"forwarding_mode": DSR, "down_grace": Duration(seconds=3601)}, "service.down_grace"),
    ],
)
def test_what_does_not_go_together_is_refused_by_its_field_and_changes_nothing(stub: Any, given: dict[str, Any], field: str) -> None:
    error = refusal(stub.CreateVirtualService, create(**given))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", field)
    assert not list(stub.ListVirtualServices(pb.ListVirtualServicesRequest()).services)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"forwarding_mode": DSR}, "service.forwarding_mode"),
        ({"encap": Encap(encapsulation=1)}, "service.forwarding_mode"),
        ({"encap": Encap(encapsulation=2, port=7000)}, "service.encap.port"),
        ({"encap": Encap(encapsulation=2, outer_source=2)}, "service.encap.outer_source"),
        ({"encap": Encap(encapsulation=2, outer_checksum=True)}, "service.encap.outer_checksum"),
        ({"flow_tracking": 2}, "service.flow_tracking"),
    ],
)
def test_modes_are_fixed_at_creation(stub: Any, given: dict[str, Any], field: str) -> None:
    made(stub, forwarding_mode=ENCAP, encap=Encap(encapsulation=2))
    asked = virtual_service_pb2.VirtualService(name=WEB, **given)
    error = refusal(stub.UpdateVirtualService, pb.UpdateVirtualServiceRequest(service=asked))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "FIELD_FIXED", field)


async def test_a_service_sent_back_as_it_was_read_changes_nothing(node: Node) -> None:
    async with node.running() as lb:
        encap = {"encapsulation": "gue-variant-1"}
        before = await lb.create_service("web", vip="192.0.2.1", port=80, forwarding_mode="encap", encap=encap, flow_tracking="all")
        whole = {"encap": {"encapsulation": "gue-variant-1", "port": before.encap.port, "outer_source": "real"}, "flow_tracking": "all"}
        after = await lb.update_service("web", forwarding_mode="encap", **whole)
        assert after.revision == before.revision


async def test_window_and_grace_may_change(node: Node) -> None:
    async with node.running() as lb:
        await lb.create_service("web", vip="192.0.2.1", port=80, forwarding_mode="dsr")
        after = await lb.update_service("web", change_window=30, down_grace=0)
        assert (after.change_window.seconds, after.down_grace.seconds, after.revision) == (30, 0, 2)


async def test_only_encap_crosses_families(node: Node) -> None:
    async with node.running() as lb:
        await lb.create_service("web", vip="192.0.2.1", port=80, forwarding_mode="dsr")
        with pytest.raises(l4lb.Error) as refused:
            await lb.add_backend("web/a", address="2001:db8::1")
        assert (refused.value.reason, refused.value.field) == ("FAMILY_MISMATCH", "backend.address")
        await lb.create_service("tunnel", vip="192.0.2.2", port=80, forwarding_mode="encap")
        assert (await lb.add_backend("tunnel/a", address="2001:db8::1")).address == "2001:db8::1"


@pytest.mark.parametrize("mode", ["dsr", "encap"])
async def test_a_mode_that_translates_no_port_takes_no_other_port(node: Node, mode: str) -> None:
    async with node.running() as lb:
        await lb.create_service("web", vip="192.0.2.1", port=80, forwarding_mode=mode)
        with pytest.raises(l4lb.Error) as refused:
            await lb.add_backend("web/a", address="10.0.0.1", port=8080)
        assert (refused.value.reason, refused.value.field) == ("PORT_NOT_TRANSLATED", "backend.port")
        assert (await lb.add_backend("web/a", address="10.0.0.1")).port == 80


@pytest.mark.parametrize(("mode", "taken"), [("nat", False), ("encap", False), ("dsr", True)])
async def test_only_dsr_has_the_load_balancer_itself_as_a_backend(node: Node, mode: str, taken: bool) -> None:
    node.network.local = frozenset({address("10.0.0.9"), address("192.0.2.1")})
    async with node.running() as lb:
        await lb.create_service("web", vip="192.0.2.1", port=80, forwarding_mode=mode)
        if taken:
            backend = await lb.add_backend("web/a", address="10.0.0.9")
            assert (backend.reconciling, backend.slot_share) == (False, 1.0)
            return
        with pytest.raises(l4lb.Error) as refused:
            await lb.add_backend("web/a", address="10.0.0.9")
        assert (refused.value.code, refused.value.reason, refused.value.field) == ("FAILED_PRECONDITION", "BACKEND_HERE", "backend.address")


async def test_the_load_balancer_itself_is_a_backend_only_with_the_vip(node: Node) -> None:
    """Else it would route the VIP's packets on, and they would come again."""
    node.network.local = frozenset({address("10.0.0.9")})
    async with node.running() as lb:
        await lb.create_service("web", vip="192.0.2.1", port=80, forwarding_mode="dsr")
        backend = await lb.add_backend("web/a", address="10.0.0.9")
        assert (backend.reconciling, backend.slot_share) == (True, 0.0)
        assert "run ip address add 192.0.2.1/32 dev lo" in backend.reconciling_reason


async def test_without_an_address_to_send_outer_headers_from_a_backend_gets_no_slots(node: Node) -> None:
    node.network.moved[address("10.0.0.9")] = hop()
    async with node.running() as lb:
        await lb.create_service("web", vip="192.0.2.1", port=80, forwarding_mode="encap")
        backend = await lb.add_backend("web/a", address="10.0.0.9")
        assert (backend.reconciling, backend.slot_share) == (True, 0.0)
        assert "outer_source under [datapath]" in backend.reconciling_reason
        await lb.create_service("spread", vip="192.0.2.2", port=80, forwarding_mode="encap", encap={"outer_source": "spread"})
        assert (await lb.add_backend("spread/a", address="10.0.0.9")).slot_share == 1.0
