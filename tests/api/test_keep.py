"""What NAT makes of clients' addresses, as the API takes, shows and refuses it."""

from typing import Any

import pytest

import l4lb
from l4lb.v1 import service_pb2 as pb
from l4lb.v1 import virtual_service_pb2 as v
from l4lb_agent.model import layout
from tests.api.conftest import Agent
from tests.api.test_agent import Node, node
from tests.api.test_choice import WEB, create, ctl, refusal

__all__ = ["node"]
KEEP, TRANSLATE, NAT, DSR, ENCAP = (
    v.CLIENT_ADDRESS_KEEP, v.CLIENT_ADDRESS_TRANSLATE, v.FORWARDING_MODE_NAT, v.FORWARDING_MODE_DSR, v.FORWARDING_MODE_ENCAP
)  # fmt: skip


def mode(node: Node) -> int:
    """Of the only service in the kernel."""
    [element] = node.datapath.maps_in_kernel["services"].values()
    return (layout.Service.from_buffer_copy(element).word & layout.SERVICE_MODE) >> layout.SERVICE_MODE_SHIFT


async def test_it_reaches_the_datapath_and_is_there_again_after_a_restart(node: Node) -> None:
    async with node.running() as lb:
        made = await lb.create_service("web", vip="192.0.2.1", port=80, ring_size=1021, client_address="keep")
        assert (made.forwarding_mode, made.client_address, mode(node)) == (NAT, KEEP, layout.MODE_KEEP)
        await lb.add_backend("web/a", address="10.0.0.1")
        assert node.datapath.maps_in_kernel["kept"]
    async with node.running() as lb:
        assert ((await lb.get_service("web")).client_address, mode(node)) == (KEEP, layout.MODE_KEEP)
        await lb.delete_service("web", force=True)
        assert not node.datapath.maps_in_kernel["kept"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, (NAT, TRANSLATE)),
        ({"client_address": TRANSLATE}, (NAT, TRANSLATE)),
        ({"client_address": KEEP}, (NAT, KEEP)),
        ({"client_address": KEEP, "forwarding_mode": NAT}, (NAT, KEEP)),
        ({"forwarding_mode": DSR}, (DSR, v.CLIENT_ADDRESS_UNSPECIFIED)),
        ({"forwarding_mode": ENCAP}, (ENCAP, v.CLIENT_ADDRESS_UNSPECIFIED)),
    ],
)
def test_what_is_shown_can_be_sent_back(stub: Any, given: dict[str, Any], shown: tuple[int, int]) -> None:
    made = stub.CreateVirtualService(create(**given)).service
    assert (made.forwarding_mode, made.client_address) == shown
    again = stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=made)).service
    assert (again.forwarding_mode, again.client_address) == shown


@pytest.mark.parametrize("mode", [DSR, ENCAP])
@pytest.mark.parametrize("asked", [KEEP, TRANSLATE])
def test_other_modes_have_no_choice(stub: Any, mode: int, asked: int) -> None:
    error = refusal(stub.CreateVirtualService, create(forwarding_mode=mode, client_address=asked))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "service.client_address")
    stub.CreateVirtualService(create(forwarding_mode=mode))
    error = refusal(
        stub.UpdateVirtualService,
        pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB, client_address=asked)),  # type: ignore[arg-type]
    )
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "service.client_address")


@pytest.mark.parametrize(("made", "asked"), [(KEEP, TRANSLATE), (TRANSLATE, KEEP), (v.CLIENT_ADDRESS_UNSPECIFIED, KEEP)])
def test_it_stays_as_it_was_created(stub: Any, made: v.ClientAddress.ValueType, asked: v.ClientAddress.ValueType) -> None:
    stub.CreateVirtualService(create(client_address=made))
    change = v.VirtualService(name=WEB, client_address=asked)
    error = refusal(stub.UpdateVirtualService, pb.UpdateVirtualServiceRequest(service=change))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "FIELD_FIXED", "service.client_address")


def test_a_service_that_keeps_addresses_is_nat_by_any_update(stub: Any) -> None:
    stub.CreateVirtualService(create(client_address=KEEP))
    change = v.VirtualService(name=WEB, forwarding_mode=NAT, on_empty=v.ON_EMPTY_RESET)
    changed = stub.UpdateVirtualService(pb.UpdateVirtualServiceRequest(service=change)).service
    assert (changed.client_address, changed.on_empty) == (KEEP, v.ON_EMPTY_RESET)
    error = refusal(stub.UpdateVirtualService, pb.UpdateVirtualServiceRequest(service=v.VirtualService(name=WEB, forwarding_mode=DSR)))
    assert (error.reason, error.field) == ("FIELD_FIXED", "service.forwarding_mode")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"flow_tracking": v.FLOW_TRACKING_ALL}, "service.flow_tracking"),
        ({"encap": v.Encap()}, "service.encap"),
        ({"client_address": 9}, "service.client_address"),
    ],
)
def test_what_cannot_be_with_it_is_refused_by_its_field(stub: Any, given: dict[str, Any], field: str) -> None:
    error = refusal(stub.CreateVirtualService, create(**{"client_address": KEEP, **given}))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", field)


def test_the_client_and_l4lbctl_choose_it(agent: Agent, client: l4lb.Client) -> None:
    assert client.create_service("a", vip="10.0.0.1", port=80, client_address="keep").client_address == KEEP
    ctl(agent, "service create b --vip 10.0.0.1 --port 81 --client-address keep")
    assert client.get_service("b").client_address == KEEP
    assert client.update_service("b", client_address="keep", on_empty="reset").client_address == KEEP
