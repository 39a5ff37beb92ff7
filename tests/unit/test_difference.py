"""What the audit tells of a change."""

import json
from dataclasses import replace

from l4lb_agent.model.backend import AdminState, Backend, DeadlineAction, Drain
from l4lb_agent.model.changes import difference
from l4lb_agent.model.changes.difference import MOST, Difference
from l4lb_agent.model.desired import Change, Desired
from l4lb_agent.model.service import Protocol, VirtualService
from tests.fakes.values import address

WEB = VirtualService("services/web", address("192.0.2.10"), 80, Protocol.TCP, revision=1)
A = Backend("services/web/backends/a", address("198.51.100.1"), 8080, weight=3, revision=2)
BEFORE = Desired().apply(Change(1, 0.0, services=(WEB,))).apply(Change(2, 0.0, backends=(A,)))


def told(change: Change) -> list[Difference]:
    found = difference.between(BEFORE, change).told
    json.dumps([one.fields for one in found])  # every value is one that JSON knows
    return list(found)


def test_nothing_is_told_of_no_change() -> None:
    assert difference.between(BEFORE, None) == difference.NONE


def test_a_new_backend_is_told_with_all_it_has() -> None:
    [found] = told(Change(3, 0.0, backends=(replace(A, name="services/web/backends/b"),)))
    assert (found.resource, found.kind) == ("services/web/backends/b", "added")
    assert found.fields == {
        "address": (None, "198.51.100.1"), "port": (None, 8080), "weight": (None, 3), "admin": (None, "ENABLED"), "mtu": (None, 0),
        "annotations": (None, {}),
    }  # fmt: skip


def test_only_what_changes_is_told_with_before_and_after() -> None:
    drain = Drain(5.0, 9.0, DeadlineAction.CUT, "boot", 7)
    after = replace(A, admin=AdminState.DRAINING, drain=drain, annotations={"k": "v"}, revision=3, updated=5.0)
    [found] = told(Change(3, 5.0, backends=(after,)))
    assert found.kind == "changed"
    assert set(found.fields) == {"admin", "drain", "annotations"}
    assert found.fields["admin"] == ("ENABLED", "DRAINING")
    assert found.fields["annotations"] == ({}, {"k": "v"})
    before, shown = found.fields["drain"]
    assert before is None
    assert isinstance(shown, dict)
    assert (shown["deadline"], shown["action"], shown["initial_flows"]) == (9.0, "CUT", 7)


def test_what_is_removed_is_told_with_what_it_was() -> None:
    backend, service = told(Change(3, 0.0, deleted=(A.name, WEB.name)))
    assert (backend.kind, backend.fields["weight"], service.fields["vip"]) == ("removed", (3, None), ("192.0.2.10", None))


def test_of_a_very_large_change_the_first_are_told_and_the_rest_counted() -> None:
    names = tuple(f"services/web/backends/b{i}" for i in range(3 * MOST))
    found = difference.between(BEFORE, Change(3, 0.0, deleted=(*names, WEB.name)))
    assert [one.resource for one in found.told] == list(names[:MOST])
    assert found.more == 2 * MOST + 1
