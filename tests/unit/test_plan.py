"""From what was asked for to map writes: every prefix of a plan is safe, ids are kept, and nothing is written twice."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from l4lb_agent.model import build, errors, ids, layout, ring, tables
from l4lb_agent.model.address import Address
from l4lb_agent.model.changes import commands
from l4lb_agent.model.changes.decide import Facts, decide
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.ids import BackendKey, Ids
from l4lb_agent.model.plan import plan
from l4lb_agent.model.service import Protocol
from tests.fakes.packet import Fate, first_packet
from tests.fakes.values import SECRETS, address, backend, config, hop, service

CONFIG = config()
FACTS = Facts(1000.0, "boot", CONFIG)
WORLD = build.World(CONFIG, SECRETS, 1 << 24)
VIPS = ("192.0.2.1", "192.0.2.2", "2001:db8::1")
SLOTS = tuple(n * 0x0FFFFFFF + 12345 for n in range(16))


@dataclass
class Node:
    """A load balancer's maps without a kernel."""

    desired: Desired = field(default_factory=Desired)
    ids: Ids = field(default_factory=Ids)
    maps: dict[str, tables.Elements] = field(default_factory=dict)
    world: build.World = WORLD

    @property
    def actual(self) -> tables.Tables:
        """What the kernel would hold."""
        return tables.Tables({name: dict(elements) for name, elements in self.maps.items()})

    def ask(self, *asked: commands.Command) -> None:
        """Decides; writes nothing."""
        for command in asked:
            self.desired = decide(self.desired, command, FACTS).desired

    def steps(self, free: frozenset[int] = frozenset()) -> tuple[tables.Step, ...]:
        """The plan from here to what is asked for."""
        self.ids = ids.assign(self.ids, self.desired, self.world.config, self.actual, free=free)
        self.built = build.build(self.desired, self.ids, self.rings(), self.world, self.actual)
        return plan(self.actual, self.built.tables)

    def rings(self) -> dict[str, bytes]:
        """Ring elements by service name."""
        made = {}
        for one in self.desired.services.values():
            members = {
                f"{b.address} {b.port}": b
                for b in self.desired.backends_of(one.name)
                if b.wants_new_flows and b.address in self.world.next_hops and self.key(b.name) in self.ids.backends
            }
            built = ring.build(one.ring_size, {identity: b.weight for identity, b in members.items()}, SECRETS.slot)
            if built.owners:
                numbers = {identity: self.ids.backends[self.key(b.name)] for identity, b in members.items()}
                made[one.name] = build.ring_element(built.with_ids(numbers).tobytes(), one.ring_size)
        return made

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
            if not steps and not self.built.deferred:
                return writes
            for step in steps:
                self.write(step)
                writes += isinstance(step, tables.Write)
        raise AssertionError(f"never settles: {self.built.deferred}")

    def fates(self) -> dict[tuple[str, int, int], Fate]:
        """What becomes of packets to every VIP, over both protocols and many slots."""
        return {
            (vip, protocol, slot): first_packet(self.actual, address(vip), 80, protocol, slot)
            for vip in VIPS
            for protocol in (6, 17)
            for slot in SLOTS
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
places = st.tuples(st.integers(0, 2), st.sampled_from([Protocol.TCP, Protocol.UDP]))


def name_of(place: tuple[int, Protocol]) -> str:
    return f"s{place[0]}-{place[1].name.lower()}"


def command_of(kind: str, place: tuple[int, Protocol], number: int, weight: int) -> commands.Command:
    name, vip = name_of(place), VIPS[place[0]]
    server = SERVER[address(vip).family].format(number)
    backend_name = f"services/{name}/backends/b{number}"
    match kind:
        case "create":
            return commands.CreateService(service(name, vip, protocol=place[1]))
        case "delete":
            return commands.DeleteService(f"services/{name}", force=True)
        case "add":
            return commands.AddBackend(backend(name, f"b{number}", server, 80, weight=weight))
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


def ask_all(node: Node, wishes: list[tuple[str, tuple[int, Protocol], int, int]], without: set[int]) -> None:
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
    if "foreign" in (before.what, after.what):
        yield Fate("no_service")  # a VIP is owned from just after its first service to just before its last one goes
        yield Fate("no_backend")


@settings(max_examples=120, deadline=None)
@given(asked, asked, unresolved, unresolved)
def test_after_every_prefix_of_a_plan_each_packet_meets_the_old_or_the_new_state(
    first: list[tuple[str, tuple[int, Protocol], int, int]],
    second: list[tuple[str, tuple[int, Protocol], int, int]],
    without_first: set[int],
    without_second: set[int],
) -> None:
    node = Node()
    ask_all(node, first, without_first)
    node.settle()
    ask_all(node, second, without_second)
    old = node.fates()
    goal = replace(node, maps={name: dict(elements) for name, elements in node.maps.items()})
    steps = node.steps()
    if node.built.deferred:
        return  # more than one plan: the next one begins from a state that this test has seen
    for step in goal.steps():
        goal.write(step)
    new = goal.fates()
    for step in steps:
        node.write(step)
        for packet, fate in node.fates().items():
            assert fate in allowed(old[packet], new[packet]), (step, packet)
    assert node.fates() == new


@settings(max_examples=60, deadline=None)
@given(asked, asked, unresolved)
def test_a_settled_node_has_nothing_to_write_and_a_restarted_one_neither(
    first: list[tuple[str, tuple[int, Protocol], int, int]],
    second: list[tuple[str, tuple[int, Protocol], int, int]],
    without: set[int],
) -> None:
    node = Node()
    ask_all(node, first, without)
    node.settle()
    ask_all(node, second, without)
    node.settle()
    assert node.steps() == ()
    restarted = replace(node, ids=ids.restore(node.actual, node.desired))
    assert restarted.steps() == ()


def test_every_packet_of_a_service_meets_a_written_backend() -> None:
    fates = {fate for (vip, protocol, _), fate in web().fates().items() if (vip, protocol) == (VIPS[0], 6)}
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
    assert {fate.what for (vip, protocol, _), fate in node.fates().items() if protocol == 6 and vip in VIPS[:2]} == {"forwarded"}
    node.settle()
    assert {fate.what for (vip, protocol, _), fate in node.fates().items() if protocol == 6 and vip in VIPS[:2]} == {"forwarded"}


def test_a_drain_that_ended_with_cut_takes_the_flows_away() -> None:
    from l4lb_agent.model.backend import DeadlineAction, DrainResult

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


def test_adopted_maps_give_back_their_secrets() -> None:
    node = web()
    assert build.secrets_of(node.maps["config"][tables.array_key(0)]) == SECRETS
    assert build.secrets_of(bytes(256)) is None
