"""From what was asked for to map writes: every prefix of a plan is safe, ids are kept, and nothing is written twice."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l4lb_agent.control.applying.rings import Rings
from l4lb_agent.control.applying.windows import Look, Windows
from l4lb_agent.model import build, errors, ids, layout, tables
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import DeadlineAction, DrainResult
from l4lb_agent.model.changes import capacity, commands
from l4lb_agent.model.changes.decide import Facts, decide
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.ids import BackendKey, Ids
from l4lb_agent.model.plan import plan
from l4lb_agent.model.pool import RingElements, rings_of
from l4lb_agent.model.service import ANY_PORT, Mode, Protocol, Tracking
from tests.fakes.packet import Fate, Fates, packets, packets_of, taker
from tests.fakes.values import SECRETS, address, backend, config, hop, service

CONFIG = config()
FACTS = Facts(1000.0, "boot", CONFIG)
WORLD = build.World(CONFIG, SECRETS, 1 << 24)
VIPS = ("192.0.2.1", "192.0.2.2", "2001:db8::1")
GRACE = 0.05
Place = tuple[int, Protocol, tuple[int, int]]  # which VIP, protocol, first and last port
Packet = tuple[str, int, int, int]  # VIP, protocol, slot, port
Wish = tuple[str, Place, int, int]
PORTS = {80: 16, 75: 4, 9: 2}  # how many of SLOTS are looked at
SLOTS = tuple(n * 0x0FFFFFFF + 12345 for n in range(16))


@dataclass
class Node:
    """A load balancer's maps without a kernel."""

    desired: Desired = field(default_factory=Desired)
    ids: Ids = field(default_factory=Ids)
    maps: dict[str, tables.Elements] = field(default_factory=dict)
    world: build.World = WORLD
    time: float = 100.0
    windows: Windows = field(default_factory=lambda: Windows(GRACE, {}))
    made: Rings = field(default_factory=lambda: Rings(SECRETS.slot))

    @property
    def actual(self) -> tables.Tables:
        """What the kernel would hold."""
        return tables.Tables({name: dict(elements) for name, elements in self.maps.items()})

    def copy(self) -> "Node":
        """Another one in the same state."""
        return replace(self, maps={name: dict(elements) for name, elements in self.maps.items()}, windows=copy.copy(self.windows))

    def ask(self, *asked: commands.Command) -> None:
        """Decides; writes nothing."""
        for command in asked:
            self.desired = decide(self.desired, command, FACTS).desired

    def steps(self, free: frozenset[int] = frozenset()) -> tuple[tables.Step, ...]:
        """The plan from here to what is asked for."""
        self.ids = ids.assign(self.ids, self.desired, self.world.config, self.actual, free=free)
        elements = self.rings()
        self.built = build.build(self.desired, self.ids, elements, replace(self.world, given_up=self.windows.given_up), self.actual)
        self.windows.committed(self.built.deferred)
        return plan(self.actual, self.built.tables)

    def rings(self) -> dict[str, RingElements]:
        """Ring elements by service name."""
        without = build.without_way(self.desired, self.world.next_hops, self.world.local, ())
        look = Look(self.desired, self.ids, self.time, without)
        images = self.made.images(self.desired, self.ids, without)
        return self.windows.rings(look, images, lambda: self.made.images(self.desired, self.ids, frozenset()))

    def key(self, name: str) -> BackendKey:
        """What the id of a backend depends on."""
        return ids.backend_keys(self.desired)[name]

    def write(self, step: tables.Step) -> None:
        """Does one step."""
        if isinstance(step, tables.Write):
            self.maps.setdefault(step.map, {})[step.key] = step.value
            if not any(step.value):
                del self.maps[step.map][step.key]

    def settle(self) -> int:
        """Runs plans until nothing is left to write; how many writes that took."""
        writes = 0
        for _ in range(10):
            steps = self.steps()
            self.windows.published(self.time)
            if not steps and not self.built.deferred:
                return writes
            for step in steps:
                self.write(step)
                writes += isinstance(step, tables.Write)
        raise AssertionError(f"never settles: {self.built.deferred}")

    def fates(self) -> dict[Packet, Fates]:
        """What becomes of packets to every VIP, over both protocols, some ports and many slots."""
        return {
            (vip, protocol, slot, port): packets(self.actual, address(vip), port, protocol, slot)
            for vip in VIPS
            for protocol in (6, 17)
            for port, many in PORTS.items()
            for slot in SLOTS[:many]
        }


def resolved(*texts: str) -> build.World:
    return replace(WORLD, next_hops={address(text): hop(number) for number, text in enumerate(texts, 1)})


def web() -> Node:
    node = Node(world=resolved("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    node.ask(
        commands.CreateService(service("web")),
        commands.AddBackend(backend("web", "a", "10.0.0.1", 80)),
        commands.AddBackend(backend("web", "b", "10.0.0.2", 80)),
    )
    node.settle()
    return node


SERVER = {4: "10.0.0.{}", 6: "2001:db8:1::{}"}
single = st.just((80, 0))
places = st.tuples(
    st.integers(0, 2),
    st.sampled_from([Protocol.TCP, Protocol.UDP]),
    st.one_of(single, single, st.sampled_from([(70, 90), (74, 80), ANY_PORT])),
)


def name_of(place: Place) -> str:
    return f"s{place[0]}-{place[1].name.lower()}-{place[2][0]}-{place[2][1]}"


def command_of(kind: str, place: Place, number: int, weight: int) -> commands.Command:
    name, vip = name_of(place), VIPS[place[0]]
    server = SERVER[address(vip).family].format(number)
    backend_name = f"services/{name}/backends/b{number}"
    match kind:
        case "create":
            more = {"mode": Mode.KEEP if place[1] is Protocol.UDP else Mode.NAT}
            if place[0]:
                more = {"mode": Mode.DSR, "tracking": Tracking.CHANGES, "window_seconds": 10, "down_grace_seconds": 3}
            return commands.CreateService(service(name, vip, place[2][0], protocol=place[1], port_end=place[2][1], **more))
        case "delete":
            return commands.DeleteService(f"services/{name}", force=True)
        case "add":
            return commands.AddBackend(backend(name, f"b{number}", server, 0, weight=weight))
        case "remove":
            return commands.RemoveBackend(backend_name, force=True)
        case "weight":
            return commands.UpdateBackend(backend_name, weight=weight)
        case "move":
            return commands.UpdateBackend(backend_name, address=address(SERVER[address(vip).family].format(number + 10)))
        case _:
            return commands.DrainBackend(backend_name, allow_empty=True)


kinds = st.sampled_from(["create", "create", "add", "add", "add", "delete", "remove", "weight", "move", "drain"])
asked = st.lists(st.tuples(kinds, places, st.integers(1, 4), st.integers(0, 5)), min_size=1, max_size=12)
unresolved = st.sets(st.integers(1, 4), max_size=2)


def ask_all(node: Node, wishes: list[Wish], without: set[int]) -> None:
    for wish in wishes:
        try:
            node.ask(command_of(*wish))
        except errors.Refused:
            continue
    servers = [SERVER[family].format(n) for family in (4, 6) for n in range(1, 15) if n not in without]
    node.world = resolved(*servers)


def allowed(before: Fate, after: Fate) -> Iterator[Fate]:
    yield before
    yield after
    if before.what == "unresolved":
        yield Fate("forwarded", before.backend)  # backends come into use before the rings change
    if "foreign" in (before.what, after.what):
        yield Fate("no_service")  # a VIP is owned from just after its first service to just before its last one goes
        yield Fate("no_backend")


def met(packet: Packet, old: Node, new: Node) -> list[Fates]:
    """What a packet may meet between two states: the service that takes it in one of them, as it is in one of them. Both differ when
    several changes are made at once, of which one gives a port of a range to another service."""
    vip, protocol, slot, port = packet
    found = [packets(node.actual, address(vip), port, protocol, slot) for node in (old, new)]
    takers = {taker(node.actual, address(vip), port, protocol) for node in (old, new)} - {None}
    if len(takers) == 1:
        return found
    others = (packets_of(node.actual, key, slot) for node in (old, new) for key in takers if key is not None)
    return [*found, *(fates for fates in others if fates is not None)]


def round_of(node: Node, wishes: list[Wish], without: set[int], seconds: float) -> bool:
    """Asks, and looks at every packet after every step of the plan; whether there was one plan, and not several."""
    ask_all(node, wishes, without)
    node.time += seconds
    before, goal = node.copy(), node.copy()
    steps = node.steps()
    if node.built.deferred:
        return False  # the next plan begins from a state that this test has seen
    for step in goal.steps():
        goal.write(step)
    may = {packet: met(packet, before, goal) for packet in goal.fates()}
    pairs = {packet: [(one, other) for one in fates for other in fates] for packet, fates in may.items()}
    for step in steps:
        node.write(step)
        for packet, fates in node.fates().items():
            assert any(fates.first in allowed(a.first, b.first) for a, b in pairs[packet]), (step, packet)
            assert any(fates.without_entry in allowed(a.without_entry, b.without_entry) for a, b in pairs[packet]), (step, packet)
            assert fates.with_entry in {one.with_entry for one in may[packet]}, (step, packet)
    assert node.fates() == goal.fates()
    node.windows.published(node.time)
    return True


later = st.sampled_from([0.0, 4.0, 11.0, 30.0])


@settings(max_examples=120, deadline=None)
@given(asked, unresolved, st.lists(st.tuples(asked, unresolved, later), min_size=1, max_size=3))
def test_after_every_prefix_of_a_plan_each_packet_meets_the_old_or_the_new_state(
    first: list[Wish], without_first: set[int], rounds: list[tuple[list[Wish], set[int], float]]
) -> None:
    node = Node()
    ask_all(node, first, without_first)
    node.settle()
    for wishes, without, seconds in rounds:
        if not round_of(node, wishes, without, seconds):
            return


@settings(max_examples=60, deadline=None)
@given(asked, asked, unresolved)
def test_a_settled_node_has_nothing_to_write_and_a_restarted_one_neither(first: list[Wish], second: list[Wish], without: set[int]) -> None:
    node = Node()
    ask_all(node, first, without)
    node.settle()
    ask_all(node, second, without)
    node.settle()
    assert node.steps() == ()
    restarted = replace(node, ids=ids.restore(node.actual, node.desired), windows=Windows(GRACE, {}))
    restarted.windows.adopt(Look(node.desired, restarted.ids, node.time), node.actual)
    assert restarted.steps() == ()


def test_every_packet_of_a_service_meets_a_written_backend() -> None:
    fates = {fates.first for (vip, protocol, _, port), fates in web().fates().items() if (vip, protocol, port) == (VIPS[0], 6, 80)}
    assert fates == {Fate("forwarded", (address("10.0.0.1"), 80)), Fate("forwarded", (address("10.0.0.2"), 80))}


def test_an_unresolved_backend_has_no_slots() -> None:
    node = web()
    node.ask(commands.AddBackend(backend("web", "c", "10.0.0.9", 80)))
    ring_before = node.rings()
    node.settle()
    assert node.rings() == ring_before
    assert node.key("services/web/backends/c") in node.ids.backends


def test_a_weight_change_writes_one_ring_and_one_service_element() -> None:
    node = web()
    node.ask(commands.UpdateBackend("services/web/backends/a", weight=3))
    steps = node.steps()
    assert [step.map for step in steps if isinstance(step, tables.Write)] == ["rings_1021", "services"]


def test_a_ring_that_packets_may_still_read_is_rewritten_only_after_a_grace_period() -> None:
    node = web()
    for weight in range(2, 30):
        node.ask(commands.UpdateBackend("services/web/backends/a", weight=weight))
        used = set(node.maps["rings_1021"])
        steps = node.steps()
        write = next(n for n, step in enumerate(steps) if isinstance(step, tables.Write) and step.map == "rings_1021")
        rewritten = steps[write].key in used  # type: ignore[union-attr]
        assert (tables.Grace() in steps[:write]) is rewritten
        for step in steps:
            node.write(step)
    assert rewritten


def test_a_new_mac_address_writes_only_the_backend() -> None:
    node = web()
    node.world = replace(node.world, next_hops={**node.world.next_hops, address("10.0.0.1"): hop(77)})
    assert [step.map for step in node.steps() if isinstance(step, tables.Write)] == ["backends"]


def test_the_id_of_a_removed_backend_waits_for_a_sweep() -> None:
    node = web()
    old = node.ids.backends[node.key("services/web/backends/a")]
    node.ask(commands.RemoveBackend("services/web/backends/a"))
    node.settle()
    assert node.ids.retired == {old}
    node.ask(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
    node.settle()
    assert node.ids.backends[node.key("services/web/backends/c")] != old
    for step in node.steps(frozenset({old})):
        node.write(step)
    assert node.ids.retired == frozenset()
    assert tables.array_key(old) not in node.maps["backends"]


def test_a_backend_that_comes_back_does_not_revive_the_flows_that_were_cut() -> None:
    node = web()
    old = node.ids.backends[node.key("services/web/backends/a")]
    node.ask(commands.RemoveBackend("services/web/backends/a"))
    node.settle()
    node.ask(commands.AddBackend(backend("web", "a", "10.0.0.1", 80)))
    node.settle()
    assert node.ids.backends[node.key("services/web/backends/a")] != old
    restored = ids.restore(node.actual, node.desired)
    assert (restored.backends, restored.retired) == (node.ids.backends, node.ids.retired)


def test_the_element_of_a_removed_backend_stays_with_its_flows_cut() -> None:
    node = web()
    old = node.ids.backends[node.key("services/web/backends/a")]
    node.ask(commands.RemoveBackend("services/web/backends/a"))
    node.settle()
    element = layout.Backend.from_buffer_copy(node.maps["backends"][tables.array_key(old)])
    assert element.flags == 0
    assert Address(bytes(element.address)) == address("10.0.0.1")


def test_a_small_pool_of_rings_changes_services_one_after_the_other() -> None:
    world = replace(resolved("10.0.0.1", "10.0.0.2"), config=config(sizes=replace(CONFIG.sizes, rings_1021=5)))
    node = Node(world=world)
    for number in range(1, 4):
        node.ask(commands.CreateService(service(f"s{number}", f"192.0.2.{number}")))
        for name in (1, 2):
            node.ask(commands.AddBackend(backend(f"s{number}", f"b{name}", f"10.0.0.{name}", 80)))
    node.settle()
    for number in range(1, 4):
        node.ask(commands.UpdateBackend(f"services/s{number}/backends/b1", weight=7))
    for step in node.steps():
        node.write(step)
    assert len(node.built.deferred) == 2
    node.settle()
    assert node.fates()  # no slot dangles


def whats(node: Node) -> set[str]:
    """What becomes of new TCP flows to the IPv4 VIPs."""
    fates = node.fates().items()
    return {of.first.what for (vip, protocol, _, port), of in fates if (protocol, port) == (6, 80) and vip in VIPS[:2]}


def test_a_deferred_service_keeps_forwarding_to_a_backend_that_goes() -> None:
    world = replace(resolved("10.0.0.1", "10.0.0.2"), config=config(sizes=replace(CONFIG.sizes, rings_1021=4)))
    node = Node(world=world)
    for number in (1, 2):
        node.ask(commands.CreateService(service(f"s{number}", f"192.0.2.{number}")))
        for name in (1, 2):
            node.ask(commands.AddBackend(backend(f"s{number}", f"b{name}", f"10.0.0.{name}", 80)))
    node.settle()
    node.ask(*(commands.RemoveBackend(f"services/s{number}/backends/b1") for number in (1, 2)))
    for step in node.steps():
        node.write(step)
    assert node.built.deferred
    assert whats(node) == {"forwarded"}
    node.settle()
    assert whats(node) == {"forwarded"}


def test_a_drain_that_ended_with_cut_takes_the_flows_away() -> None:
    node = web()
    name = "services/web/backends/a"
    number = tables.array_key(node.ids.backends[node.key(name)])
    for action, flags in ((DeadlineAction.CUT, 0), (DeadlineAction.RESET, layout.BACKEND_RESET)):
        node.ask(commands.DrainBackend(name, 1.0, action), commands.EndDrain(name, DrainResult.DEADLINE_CUT, 1))
        node.settle()
        assert layout.Backend.from_buffer_copy(node.maps["backends"][number]).flags == flags
        assert ids.restore(node.actual, node.desired) == node.ids
        node.ask(commands.UndrainBackend(name))
        node.settle()


def test_flows_over_udp_are_cut_where_those_of_tcp_are_reset() -> None:
    """Nobody hears of it, and they are not counted as flows that are left."""
    node = Node()
    node.ask(
        commands.CreateService(service("dns", protocol=Protocol.UDP, mode=Mode.DSR, tracking=Tracking.ALL)),
        commands.AddBackend(backend("dns", "a", "10.0.0.1", 80)),
        commands.DrainBackend("services/dns/backends/a", 1.0, DeadlineAction.RESET, allow_empty=True),
        commands.EndDrain("services/dns/backends/a", DrainResult.DEADLINE_CUT, 1),
    )
    node.settle()
    number = tables.array_key(node.ids.backends[node.key("services/dns/backends/a")])
    assert layout.Backend.from_buffer_copy(node.maps["backends"][number]).flags == 0


def test_adopted_maps_give_back_their_secrets() -> None:
    node = web()
    assert build.secrets_of(node.maps["config"][tables.array_key(0)]) == SECRETS
    assert build.secrets_of(bytes(256)) is None


def direct() -> Node:
    """A DSR service that is settled on two backends."""
    node = Node(world=resolved("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    node.ask(commands.CreateService(service("web", mode=Mode.DSR, tracking=Tracking.CHANGES, window_seconds=10, down_grace_seconds=3)))
    node.ask(*(commands.AddBackend(backend("web", name, f"10.0.0.{number}", 80)) for number, name in ((1, "a"), (2, "b"))))
    node.settle()
    return node


def held(node: Node) -> tuple[int, int]:
    """Indices of both rings."""
    (element,) = node.maps["services"].values()
    return rings_of(element)[1]


def test_a_settled_service_holds_one_ring_in_both_halves_of_its_word() -> None:
    now, before = held(direct())
    assert now == before != 0


def test_a_nat_service_has_no_ring_before() -> None:
    assert held(web())[1] == 0


def test_a_change_writes_one_ring_keeps_the_other_and_settling_writes_one_more() -> None:
    node = direct()
    first, _ = held(node)
    node.ask(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
    node.settle()
    second, before = held(node)
    assert (before, second != first) == (first, True)
    node.time += 20
    assert [step.map for step in node.steps() if isinstance(step, tables.Write)] == ["services"]  # `now` is marked already


def test_rings_that_change_both_are_exchanged_by_one_write_of_the_word() -> None:
    node = direct()
    node.ask(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
    node.settle()
    used = set(held(node))
    node.ask(commands.RemoveBackend("services/web/backends/a"))
    writes = [step for step in node.steps() if isinstance(step, tables.Write)]
    assert [write.map for write in writes] == ["rings_1021", "rings_1021", "services", "backends"]
    assert not used & {int.from_bytes(write.key, "little") for write in writes[:2]}


def test_the_ring_before_is_not_written_over_however_often_the_other_changes() -> None:
    node = direct()
    _, before = held(node)
    content, written = node.maps["rings_1021"][tables.array_key(before)], set()
    for weight in range(2, 30):
        node.ask(commands.UpdateBackend("services/web/backends/a", weight=weight))
        steps = node.steps()
        rings = {step.key for step in steps if isinstance(step, tables.Write) and step.map == "rings_1021"}
        assert not rings & {tables.array_key(number) for number in held(node)}
        assert (tables.Grace() in steps) is bool(rings & written)
        written |= rings
        for step in steps:
            node.write(step)
        assert (held(node)[1], node.maps["rings_1021"][tables.array_key(before)]) == (before, content)
        assert held(node)[0] != before
    assert len(written) < 28


def test_a_backend_is_given_up_after_the_rings_without_it_are_there() -> None:
    node = direct()
    node.ask(commands.AddBackend(backend("web", "c", "10.0.0.3", 80)))
    node.settle()
    node.time += 20
    node.settle()
    node.world = resolved("10.0.0.2", "10.0.0.3")
    node.settle()
    node.world = resolved("10.0.0.2")  # the grace of a is over together with that of nobody else: c has none left
    node.ask(commands.RemoveBackend("services/web/backends/c", force=True))
    assert round_of(node, [], set(range(3, 15)) | {1}, 3.0)


def test_a_backend_that_stays_down_keeps_its_flows_until_its_grace_ends() -> None:
    node = direct()
    number = node.ids.backends[node.key("services/web/backends/a")]
    node.world = resolved("10.0.0.2")
    for seconds, keeps in ((0.0, True), (2.5, True), (0.6, False)):
        node.time += seconds
        node.settle()
        element = layout.Backend.from_buffer_copy(node.maps["backends"][tables.array_key(number)])
        assert (bool(element.flags & layout.BACKEND_KEEP), element.ifindex) == (keeps, 0)
        assert (held(node)[0] == held(node)[1]) is not keeps
    node.world = resolved("10.0.0.1", "10.0.0.2")
    node.settle()
    assert layout.Backend.from_buffer_copy(node.maps["backends"][tables.array_key(number)]).flags & layout.BACKEND_KEEP


def test_a_pool_that_is_as_small_as_capacity_allows_brings_every_service_through_every_change() -> None:
    sizes = replace(CONFIG.sizes, rings_1021=1 + 2 * 3 + capacity.SPARE_RINGS)
    node = Node(world=replace(resolved("10.0.0.1", "10.0.0.2", "10.0.0.3"), config=config(sizes=sizes)))
    facts = replace(FACTS, config=config(sizes=sizes))
    for number in range(1, 4):
        more = {"mode": Mode.DSR, "tracking": Tracking.CHANGES, "window_seconds": 10}
        node.desired = decide(node.desired, commands.CreateService(service(f"s{number}", f"192.0.2.{number}", **more)), facts).desired
        node.ask(*(commands.AddBackend(backend(f"s{number}", f"b{n}", f"10.0.0.{n}", 80)) for n in (1, 2)))
    with pytest.raises(errors.ResourceExhausted):
        decide(node.desired, commands.CreateService(service("s4", "192.0.2.4")), facts)
    node.settle()
    node.ask(*(commands.AddBackend(backend(f"s{number}", "b3", "10.0.0.3", 80)) for number in range(1, 4)))
    node.settle()
    node.ask(*(commands.RemoveBackend(f"services/s{number}/backends/b1", force=True) for number in range(1, 4)))
    node.settle()
    node.time += 30
    node.settle()
    assert all(now == before for now, before in (rings_of(element)[1] for element in node.maps["services"].values()))
