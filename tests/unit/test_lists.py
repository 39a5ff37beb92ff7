"""Lists of prefixes: what is taken, refused and kept, and that no packet is judged by half a list while one is written."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l4lb_agent.model import layout, records
from l4lb_agent.model.access import policy
from l4lb_agent.model.access.lists import MAX_PREFIXES, Members, PrefixList
from l4lb_agent.model.access.prefixes import Prefix, parse, parse_all
from l4lb_agent.model.changes import commands, difference
from l4lb_agent.model.changes.decide import Facts, decide, decide_once
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from l4lb_agent.model.plan import plan
from l4lb_agent.model.tables import Elements, Grace, Step, Tables, Write
from tests.fakes.values import SECRETS, config, service, small_sizes
from tests.unit.test_plan import Node

FACTS = Facts(1000.0, "boot", config())
BAD = "lists/bad"


def some(*texts: str) -> frozenset[Prefix]:
    return parse_all(texts, "prefixes")


def create(name: str, *texts: str) -> commands.CreateList:
    return commands.CreateList(PrefixList(f"lists/{name}"), some(*texts))


def after(desired: Desired, *asked: commands.Command) -> Desired:
    for command in asked:
        desired = decide(desired, command, FACTS).desired
    return desired


def texts(desired: Desired, name: str = BAD) -> list[str]:
    return [str(prefix) for prefix in desired.members[name].ordered]


@pytest.mark.parametrize(
    "text", ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.7/32", "::/0", "2001:db8::/32", "2001:db8::1/128", "::/96", "ff00::/8"]
)
def test_a_prefix_is_told_as_it_is_written(text: str) -> None:
    assert str(parse(text, "field")) == text


def test_an_address_alone_is_a_prefix_of_all_its_bits() -> None:
    assert (str(parse("192.0.2.7", "field")), str(parse("2001:DB8::1", "field"))) == ("192.0.2.7/32", "2001:db8::1/128")


def test_families_are_told_apart_also_where_one_is_written_inside_the_other() -> None:
    assert [parse(text, "f").family for text in ("0.0.0.0/0", "1.2.3.4", "::/0", "::/95", "::fffe:0:0/96")] == [4, 4, 6, 6, 6]


def test_a_list_keeps_the_number_of_its_creation_and_no_other_list_ever_has_it() -> None:
    desired = after(Desired(), create("bad", "10.0.0.0/8"), create("good"))
    assert [one.number for one in desired.lists.values()] == [1, 2]
    desired = after(desired, commands.DeleteList("lists/good"), commands.UpdateList(BAD, add=some("10.1.0.0/16")), create("good"))
    assert {name: one.number for name, one in desired.lists.items()} == {BAD: 1, "lists/good": 5}
    assert {name: members.number for name, members in desired.members.items()} == {BAD: 1, "lists/good": 5}


def test_a_change_tells_only_the_prefixes_that_come_and_go() -> None:
    desired = after(Desired(), create("bad", "10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"))
    decision = decide(
        desired, commands.UpdateList(BAD, add=some("10.0.0.0/8", "192.0.2.0/24"), remove=some("10.2.0.0/16", "10.9.0.0/16")), FACTS
    )
    assert decision.change
    (change,) = decision.change.lists
    assert ([str(p) for p in change.added], [str(p) for p in change.removed]) == (["192.0.2.0/24"], ["10.2.0.0/16"])
    assert change.list.count == 3
    assert texts(decision.desired) == ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24"]


def test_a_change_that_changes_nothing_makes_no_revision() -> None:
    desired = after(Desired(), create("bad", "10.0.0.0/8"))
    same = (commands.UpdateList(BAD, add=some("10.0.0.0/8"), remove=some("10.9.0.0/16")), commands.UpdateList(BAD, some("10.0.0.0/8")))
    for command in same:
        decision = decide(desired, command, FACTS)
        assert (decision.change, decision.revision, decision.prefix_list) == (None, 1, desired.lists[BAD])


def test_lists_share_nothing_with_the_state_before() -> None:
    first = after(Desired(), create("bad", "10.0.0.0/8"))
    second = after(first, commands.UpdateList(BAD, remove=some("10.0.0.0/8")), create("good"))
    assert (texts(first), texts(second), list(first.lists)) == (["10.0.0.0/8"], [], [BAD])
    assert after(second, commands.CreateService(service("web"))).lists is second.lists, "other changes copy no list"


def test_all_lists_together_have_as_many_prefixes_as_configured() -> None:
    facts = replace(FACTS, config=config(sizes=small_sizes(prefixes=4)))
    desired = decide(Desired(), create("bad", "10.0.0.0/8", "11.0.0.0/8"), facts).desired
    desired = decide(desired, create("good", "12.0.0.0/8", "13.0.0.0/8"), facts).desired
    with pytest.raises(ResourceExhausted) as refused:
        decide(desired, commands.UpdateList(BAD, add=some("14.0.0.0/8")), facts)
    assert "[sizes] prefixes = 4" in refused.value.message
    exchanged = commands.UpdateList(BAD, add=some("14.0.0.0/8"), remove=some("10.0.0.0/8"))
    assert texts(decide(desired, exchanged, facts).desired) == ["11.0.0.0/8", "14.0.0.0/8"]


def test_one_list_has_no_more_than_fit_into_a_message() -> None:
    many = frozenset(Prefix(bytes(12) + number.to_bytes(4, "big"), 128) for number in range(MAX_PREFIXES + 1))
    with pytest.raises(ResourceExhausted, match="at most 50000"):
        decide(Desired(), commands.CreateList(PrefixList(BAD), many), FACTS)


def test_a_list_in_use_stays_and_its_users_are_told() -> None:
    desired = after(Desired(), create("bad"))
    for number in range(7):
        desired = after(desired, commands.CreateService(service(f"s{number}", port=80 + number, deny_list=BAD)))
    with pytest.raises(FailedPrecondition) as refused:
        decide(desired, commands.DeleteList(BAD), FACTS)
    assert "services/s0, services/s1, services/s2, services/s3, services/s4 and 2 more" in refused.value.message
    for number in range(7):
        desired = after(desired, commands.UpdateService(f"services/s{number}", deny_list=""))
    assert after(desired, commands.DeleteList(BAD)).lists == {}


def test_a_service_names_only_lists_that_are_there_and_not_one_for_both() -> None:
    desired = after(Desired(), create("bad"))
    with pytest.raises(NotFound) as missing:
        decide(desired, commands.CreateService(service("web", allow_list="lists/none")), FACTS)
    assert missing.value.field == "service.allow_list"
    desired = after(desired, commands.CreateService(service("web", allow_list=BAD)))
    with pytest.raises(InvalidArgument) as both:
        decide(desired, commands.UpdateService("services/web", deny_list=BAD), FACTS)
    assert both.value.field == "service.deny_list"


def test_the_journal_keeps_lists_by_what_changes_and_whole_in_a_snapshot() -> None:
    asked: list[commands.Command] = [
        create("bad", "10.0.0.0/8", "2001:db8::/32"),
        commands.CreateService(service("web", deny_list=BAD)),
        commands.UpdateList(BAD, add=some("192.0.2.7"), remove=some("10.0.0.0/8"), annotations={"by": "me"}),
        create("gone", "11.0.0.0/8"),
        commands.DeleteList("lists/gone"),
    ]
    desired, made = Desired(), []
    for number, command in enumerate(asked):
        decision = decide_once(desired, command, replace(FACTS, now=1000.0 + number), f"id-{number}", "hash")
        assert decision.change
        made.append(decision.change)
        desired = decision.desired
    through = [json.loads(json.dumps(record)) for record in (records.snapshot(Desired(), SECRETS), *map(records.change, made))]
    replayed = records.replay(through)
    assert replayed
    assert (replayed.desired, replayed.changes) == (desired, tuple(made))
    assert "2001:db8::/32" not in json.dumps(through[3]), "what stays is not written again"
    whole = records.replay([json.loads(json.dumps(records.snapshot(desired, SECRETS)))])
    assert whole
    assert whole.desired == desired
    assert whole.desired.remembered["id-2"].prefix_list == desired.lists[BAD]


def test_a_journal_from_before_there_were_lists_has_none() -> None:
    record = json.loads(json.dumps(records.snapshot(after(Desired(), commands.CreateService(service("web"))), SECRETS)))
    del record["lists"], record["services"][0]["allow_list"], record["services"][0]["deny_list"]
    replayed = records.replay([record])
    assert replayed
    assert (replayed.desired.lists, replayed.desired.services["services/web"].deny_list) == ({}, "")


def test_the_audit_tells_what_came_and_went_but_no_thousands() -> None:
    desired = after(Desired(), create("bad", "10.0.0.0/8"))
    many = frozenset(Prefix(bytes(12) + number.to_bytes(4, "big"), 128) for number in range(1, 500))
    change = decide(desired, commands.UpdateList(BAD, add=many, remove=some("10.0.0.0/8")), FACTS).change
    (told,) = difference.between(desired, change).told
    assert (told.resource, told.kind, told.fields["count"]) == (BAD, "changed", (1, 499))
    assert told.fields["removed"] == (["10.0.0.0/8"], None)
    assert len(told.fields["added"][1]) == difference.MOST  # type: ignore[arg-type]
    (gone,) = difference.between(desired, decide(desired, commands.DeleteList(BAD), FACTS).change).told
    assert (gone.kind, gone.fields["count"]) == ("removed", (1, None))


def test_a_service_tells_the_datapath_the_numbers_of_its_lists() -> None:
    desired = after(Desired(), create("bad"), create("good"))
    web = service("web", allow_list="lists/good", deny_list=BAD)
    element = layout.Policy.from_buffer_copy(policy.element(web, desired.lists))
    assert (element.allow_list, element.deny_list) == (2, 1)
    assert policy.flags(web) == layout.SERVICE_LISTED
    assert layout.Policy.allow_list.offset % 8 == 0, "both are read as one word"


def test_an_element_is_never_all_zero() -> None:
    """A write of zeros takes it away."""
    for text in ("::/0", "0.0.0.0/0"):
        ((key, value),) = Members(1, some(text)).elements.items()
        assert any(value)
        assert any(key)


def prefix_of(bits: int, number: int) -> str:
    """One of few prefixes, so that they hold each other."""
    top = number << 28 & 0xFFFFFFFF
    return ".".join(map(str, (top >> (32 - bits) << (32 - bits) if bits else 0).to_bytes(4, "big"))) + f"/{bits}"


few = st.frozensets(st.builds(prefix_of, st.sampled_from([0, 1, 2, 3, 4]), st.integers(0, 15)), max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(few, few), max_size=5))
def test_elements_that_are_taken_over_are_those_that_would_be_made_anew(changes: list[tuple[frozenset[str], frozenset[str]]]) -> None:
    members = Members(7, some("10.0.0.0/8"))
    assert members.elements
    for added, removed in changes:
        members = members.changed(some(*added), some(*removed))
        assert members.elements == Members(7, members.prefixes).elements
        assert len(members.elements) == len(members.prefixes)


# --- what packets meet while a plan is carried out


def longest(elements: Elements, number: int, address: Prefix) -> int:
    """Length of the longest prefix of the list that holds the address, and one more, as the kernel's trie finds it; 0 for none."""
    found = 0
    whole = int.from_bytes(address.packed, "big")
    for key, value in elements.items():
        listed = layout.ListKey.from_buffer_copy(key)
        zeros = 128 - (listed.bits - 32)
        if listed.list == number << 1 | (address.family == 6) and whole >> zeros == int.from_bytes(bytes(listed.address), "big") >> zeros:
            found = max(found, int.from_bytes(value, "little"))
    return found


def let_in(tables: Tables, allow: int, deny: int, address: Prefix) -> bool:
    """As listed() of bpf/lists.h."""
    elements = tables.get("lists")
    denied = longest(elements, deny, address) if deny else 0
    allowed = longest(elements, allow, address) if allow else 129
    return bool(allowed) and (denied < allowed if allow else not denied)


HOSTS = [parse(f"{number << 4}.1.2.3", "host") for number in range(16)]


def carried_out(tables: Tables, steps: tuple[Step, ...]) -> list[Tables]:
    """The tables after each step."""
    states, maps = [tables], {name: dict(elements) for name, elements in tables.maps.items()}
    for step in steps:
        if isinstance(step, Grace):
            continue
        assert isinstance(step, Write)
        elements = maps.setdefault(step.map, {})
        elements[step.key] = step.value
        if not any(step.value):
            del elements[step.key]
        states.append(Tables({name: dict(elements) for name, elements in maps.items()}))
    return states


@settings(max_examples=200, deadline=None)
@given(few, few, few, st.booleans(), st.booleans())
def test_while_a_list_changes_every_packet_is_judged_by_the_old_or_by_the_new_one(
    before: frozenset[str], then: frozenset[str], other: frozenset[str], allows: bool, alone: bool
) -> None:
    """Whichever prefixes are written already; with another list beside it too. No moment in which the list is empty or another."""
    fixed = {} if alone else Members(2, some(*other)).elements
    old = Tables({"lists": {**Members(1, some(*before)).elements, **fixed}})
    new = Tables({"lists": {**Members(1, some(*then)).elements, **fixed}})
    lists = (1, 0 if alone else 2) if allows else (0 if alone else 2, 1)
    states = carried_out(old, plan(old, new))
    assert states[-1].get("lists") == new.get("lists")
    for host in HOSTS:
        possible = {let_in(old, *lists, host), let_in(new, *lists, host)}
        assert {let_in(state, *lists, host) for state in states} <= possible


def test_a_list_is_whole_before_a_service_names_it_and_until_none_does() -> None:
    node = Node()
    node.ask(create("bad", "10.0.0.0/8"), create("good", "11.0.0.0/8"), commands.CreateService(service("web", deny_list=BAD)))
    order = [step.map for step in node.steps() if isinstance(step, Write)]
    assert order.index("policies") > max(place for place, name in enumerate(order) if name == "lists")
    assert order.index("services") > order.index("policies")
    node.settle()
    node.ask(commands.UpdateService("services/web", deny_list="lists/good"), commands.DeleteList(BAD))
    steps = ["grace" if isinstance(step, Grace) else step.map for step in node.steps()]
    assert steps == ["policies", "grace", "lists"]
    node.settle()
    node.ask(commands.UpdateService("services/web", deny_list=""))
    steps = ["grace" if isinstance(step, Grace) else step.map for step in node.steps()]
    assert steps == ["services", "grace", "policies"]


@pytest.mark.parametrize("done", range(8))
def test_writing_that_was_cut_short_is_completed_from_what_the_kernel_holds(done: int) -> None:
    node = Node()
    node.ask(create("bad", "10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8"))
    node.settle()
    node.ask(commands.UpdateList(BAD, some("12.0.0.0/8", "13.0.0.0/8", "14.0.0.0/8", "15.0.0.0/8")))
    for step in node.steps()[:done]:
        node.write(step)
    again = Node(node.desired, maps=node.maps)
    again.settle()
    assert again.maps["lists"] == node.desired.members[BAD].elements


def test_what_nobody_asked_for_is_taken_out_of_the_trie() -> None:
    node = Node()
    node.ask(create("bad", "10.0.0.0/8"))
    node.settle()
    node.maps["lists"] |= Members(77, some("10.0.0.0/8", "2001:db8::/32")).elements
    assert node.settle() == 2
    assert node.maps["lists"] == node.desired.members[BAD].elements


def test_nothing_is_written_while_nothing_differs() -> None:
    node = Node()
    node.ask(create("bad", "10.0.0.0/8", "::/0"))
    node.settle()
    assert node.steps() == ()
