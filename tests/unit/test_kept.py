"""Backends that answer to clients through the load balancer: which ones the maps name, and that no flow goes where answers are missed."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from l4lb_agent.model import hashing, index, layout, mapspec, tables
from l4lb_agent.model.address import Address
from l4lb_agent.model.changes import commands
from l4lb_agent.model.config import Secrets
from l4lb_agent.model.errors import Refused, ResourceExhausted
from l4lb_agent.model.service import Mode, Tracking
from l4lb_agent.model.ways import kept
from tests.fakes.packet import answers
from tests.fakes.values import address, backend, service
from tests.unit.test_plan import Node, resolved

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def keeping() -> Node:
    """Backends A and B of one service that keeps addresses."""
    node = Node(world=resolved(A, B, C))
    node.ask(
        commands.CreateService(service("web", mode=Mode.KEEP)),
        commands.AddBackend(backend("web", "a", A, 80)),
        commands.AddBackend(backend("web", "b", B, 80)),
    )
    node.settle()
    return node


def config(node: Node) -> layout.Config:
    """As the kernel has it."""
    return layout.Config.from_buffer_copy(node.maps["config"][tables.array_key(0)])


def named(node: Node) -> set[str]:
    """Those of the three whose packets are looked at."""
    return {text for text in (A, B, C) if answers(node.actual, address(text))}


def walk(node: Node) -> Iterator[None]:
    """Every step of the plan; before and after each, fates() raises when a flow could go where answers are not looked at."""
    node.fates()
    for step in node.steps():
        node.write(step)
        node.fates()
        yield
    node.settle()


def test_the_maps_name_each_backend_of_a_service_that_keeps_addresses_and_no_other() -> None:
    node = keeping()
    node.ask(commands.CreateService(service("plain", port=81)), commands.AddBackend(backend("plain", "c", C, 80)))
    node.settle()
    assert named(node) == {A, B}
    assert kept.addresses(node.desired, node.ids) == {
        address(A): node.ids.backends[node.key("services/web/backends/a")],
        address(B): node.ids.backends[node.key("services/web/backends/b")],
    }


def test_an_address_is_there_once_however_many_services_share_it_and_stays_until_the_last_goes() -> None:
    node = keeping()
    node.ask(commands.CreateService(service("more", port=81, mode=Mode.KEEP)), commands.AddBackend(backend("more", "a", A, 8080)))
    node.settle()
    words = [word for element in node.maps["kept"].values() for word in layout.Bucket.from_buffer_copy(element).entry if word]
    assert len(words) == 2
    node.ask(commands.DeleteService("services/web", force=True))
    node.settle()
    assert named(node) == {A}
    node.ask(commands.DeleteService("services/more", force=True))
    node.settle()
    assert (named(node), node.maps["kept"], config(node).flags & layout.CONFIG_KEEP, any(config(node).kept_filter)) == (set(), {}, 0, False)


def test_the_flag_is_there_while_a_service_keeps_addresses_and_the_filter_has_a_bit_for_each_backend() -> None:
    node = keeping()
    bits = {32 * place + bit for place, word in enumerate(config(node).kept_filter) for bit in range(32) if word >> bit & 1}
    assert config(node).flags & layout.CONFIG_KEEP
    assert bits == {hashing.owned_bit(address(text).packed) for text in (A, B)}
    assert len(bits) == 2, "or the tests below could not tell"
    plain = Node(world=resolved(A))
    plain.ask(commands.CreateService(service("web")), commands.AddBackend(backend("web", "a", A, 80)))
    plain.settle()
    assert (plain.maps.get("kept", {}), config(plain).flags & layout.CONFIG_KEEP) == ({}, 0)


CHANGES: dict[str, tuple[commands.Command, ...]] = {
    "add": (commands.AddBackend(backend("web", "c", C, 80)),),
    "remove": (commands.RemoveBackend("services/web/backends/a", force=True),),
    "move": (commands.UpdateBackend("services/web/backends/a", address=address(C)),),
    "weight": (commands.UpdateBackend("services/web/backends/a", weight=0),),
    "delete": (commands.DeleteService("services/web", force=True),),
    "create": (
        commands.CreateService(service("new", "192.0.2.2", mode=Mode.KEEP)),
        commands.AddBackend(backend("new", "c", C, 80)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_at_no_step_of_a_change_could_a_flow_go_where_answers_are_not_looked_at(change: str) -> None:
    node = keeping()
    node.ask(*CHANGES[change])
    steps = list(walk(node))
    assert steps
    after = {"add": {A, B, C}, "remove": {B}, "move": {B, C}, "weight": {A, B}, "delete": set(), "create": {A, B, C}}
    assert named(node) == after[change]


def test_a_restarted_agent_has_nothing_to_write() -> None:
    node = keeping()
    assert replace(node).steps() == ()


@pytest.mark.parametrize("mode", [Mode.NAT, Mode.KEEP])
def test_the_load_balancer_itself_cannot_be_a_backend(mode: Mode) -> None:
    from l4lb_agent.model.changes import places

    node = Node(world=resolved(A))
    node.ask(commands.CreateService(service("web", mode=mode)))
    local: frozenset[Address] = frozenset({address(A)})
    with pytest.raises(Refused) as caught:
        places.check(node.desired, backend("web", "a", A, 80), node.desired.services["services/web"], node.world.config, local)
    assert (caught.value.reason, caught.value.field) == ("BACKEND_HERE", "backend.address")


def test_tracking_is_not_for_it() -> None:
    node = Node()
    with pytest.raises(Refused) as caught:
        node.ask(commands.CreateService(service("web", mode=Mode.KEEP, tracking=Tracking.ALL)))
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", "service.flow_tracking")


@pytest.mark.parametrize(("present", "asked", "words"), [(Mode.KEEP, Mode.NAT, "KEEP"), (Mode.NAT, Mode.KEEP, "TRANSLATE")])
def test_it_is_fixed_at_creation_and_the_refusal_names_the_apis_field(present: Mode, asked: Mode, words: str) -> None:
    node = Node()
    node.ask(commands.CreateService(service("web", mode=present)))
    with pytest.raises(Refused) as caught:
        node.ask(commands.UpdateService("services/web", mode=asked))
    assert (caught.value.reason, caught.value.field, caught.value.metadata["value"]) == ("FIELD_FIXED", "service.client_address", words)


@pytest.mark.parametrize("seed", range(4))
def test_as_many_backends_as_there_may_be_find_a_place(seed: int) -> None:
    """What finds none would keep every later change out of the kernel."""
    sizes, drawn = mapspec.Sizes(), random.Random(seed)
    many = {Address(b"\xfd" + drawn.randbytes(15)): number for number in range(1, sizes.backends)}
    placed = kept.elements(many, Secrets(drawn.randbytes(16), drawn.randbytes(16)), sizes, {})
    assert sum(1 for bucket in placed.values() for word in index.words(bucket) if word) == sizes.backends - 1


def test_a_full_map_of_backends_says_which_size_to_raise() -> None:
    sizes = mapspec.Sizes(backends=4)
    many = {Address(b"\xfd" + number.to_bytes(15, "big")): number for number in range(1, 8 * mapspec.kept_buckets(sizes) + 2)}
    with pytest.raises(ResourceExhausted, match="the map kept are full.*backends") as full:
        kept.elements(many, Secrets(bytes(16), bytes(16)), sizes, {})
    assert (full.value.reason, full.value.metadata) == ("KEPT_FULL", {"setting": "backends"})
