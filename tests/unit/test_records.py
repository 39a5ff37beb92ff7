"""Journal records: what is written is read back, what cannot be read is refused."""

import json
from array import array
from dataclasses import replace

import pytest

from l4lb_agent.model import records
from l4lb_agent.model.access.limits import NewFlowLimit, Rate
from l4lb_agent.model.backend import DeadlineAction, DrainResult
from l4lb_agent.model.changes import commands
from l4lb_agent.model.changes.decide import Facts, decide_once
from l4lb_agent.model.choice.affinity import Affinity
from l4lb_agent.model.desired import Change, Desired
from l4lb_agent.model.health.check import HealthCheck, Kind, OnAllDown, ProbeTarget
from l4lb_agent.model.service import Hash
from l4lb_agent.model.windows import kept
from l4lb_agent.model.windows.kept import Kept
from tests.fakes.values import SECRETS, backend, config, service

A = "services/web/backends/a"


def history() -> tuple[Desired, list[Change]]:
    asked: list[commands.Command] = [
        commands.CreateService(service("web", annotations={"owner": "me"})),
        commands.AddBackend(backend("web", "a", "10.0.0.1", weight=3)),
        commands.CreateService(
            service("six", "2001:db8::1", hash=Hash.SOURCE, new_flow_limit=NewFlowLimit(Rate(5, 6), None, 24), affinity=Affinity(60, 56))
        ),
        commands.AddBackend(backend("six", "a", "2001:db8::2")),
        commands.DrainBackend(A, 5.0, DeadlineAction.RESET, allow_empty=True),
        commands.EndDrain(A, DrainResult.DEADLINE_CUT, 2),
        commands.DeleteService("services/six", force=True),
        commands.UpdateBackend(A, weight=3),
    ]
    desired, made = Desired(), []
    for number, command in enumerate(asked):
        decision = decide_once(desired, command, Facts(1000.0 + number, "boot", config()), f"id-{number}", "hash")
        assert decision.change is not None
        made.append(decision.change)
        desired = decision.desired
    return desired, made


def through_json(record: records.Record) -> dict[str, object]:
    return json.loads(json.dumps(record))  # type: ignore[no-any-return]


def test_changes_replayed_on_a_snapshot_give_the_same_state() -> None:
    desired, made = history()
    written = [records.snapshot(Desired(), SECRETS), *map(records.change, made)]
    replayed = records.replay([through_json(record) for record in written])
    assert replayed is not None
    assert replayed.desired == desired
    assert replayed.secrets == SECRETS
    assert replayed.changes == tuple(made)


def test_a_snapshot_holds_the_whole_state() -> None:
    desired, _ = history()
    replayed = records.replay([through_json(records.snapshot(desired, SECRETS))])
    assert replayed is not None
    assert replayed.desired == desired
    assert list(replayed.desired.remembered) == list(desired.remembered)


def test_a_service_of_an_older_journal_has_the_defaults_of_fields_that_came_later() -> None:
    desired, _ = history()
    record = through_json(records.snapshot(desired, SECRETS))
    later = {
        "mode", "tracking", "window_seconds", "down_grace_seconds", "encap_port", "outer_source", "outer_checksum", "hash",
        "on_empty", "mss_clamp", "mss",
        "new_flow_limit", "port_end", "allow_list", "deny_list", "affinity", "health_check",
    }  # fmt: skip
    (item,) = record["services"]  # type: ignore[misc]
    for field in later:
        del item[field]
    replayed = records.replay([record])
    assert replayed is not None
    assert replayed.desired == desired


@pytest.mark.parametrize("kind", list(Kind))
def test_a_health_check_is_read_back_and_one_of_an_older_journal_has_defaults(kind: Kind) -> None:
    check = HealthCheck(
        kind, 1.5, 0.5, 4, 5, 6, OnAllDown.REJECT, 50,
        "/x", "h", "HEAD", ((200, 204), (301, 301)), b"\0\xff", True, "n", True, "s", b"a", b"b",
        ProbeTarget.VIP,
    )  # fmt: skip
    desired = Desired().apply(Change(1, 1000.0, services=(service("web", health_check=check),)))
    record = through_json(records.snapshot(desired, SECRETS))
    replayed = records.replay([record])
    assert replayed is not None
    assert replayed.desired == desired
    (item,) = record["services"]  # type: ignore[misc]
    for later in ("min_up_percent", "contains", "send", "expect", "verify", "service", "target"):
        del item["health_check"][later]
    older = records.replay([record])
    assert older is not None
    assert older.desired.services["services/web"].health_check == replace(
        check, min_up_percent=0, contains=b"", send=b"", expect=b"", verify=False, service="", target=ProbeTarget.BACKEND
    )


def test_a_backend_of_an_older_journal_has_the_mtu_of_its_way() -> None:
    desired, _ = history()
    record = through_json(records.snapshot(desired, SECRETS))
    assert record["backends"]
    for item in record["backends"]:  # type: ignore[attr-defined]
        del item["mtu"]
    replayed = records.replay([record])
    assert replayed is not None
    assert replayed.desired == desired


def rings(created: float = 1000.0) -> Kept:
    """Of services/web, over two backends and nobody."""
    names = {7: "10.0.0.2 80", 9: "10.0.0.1 80"}
    return kept.of("services/web", created, array("H", [7, 9, 9, 0, 12]), names)


def test_a_ring_before_is_read_back_with_the_ids_of_the_day() -> None:
    desired, made = history()
    written = [records.snapshot(Desired(), SECRETS), *map(records.change, made), records.note(rings(), desired, 2000.0)]
    replayed = records.replay([through_json(record) for record in written])
    assert replayed is not None
    assert (replayed.desired, replayed.changes) == (desired, tuple(made))
    found = replayed.kept["services/web"]
    assert found == rings()
    assert found.owners == ("10.0.0.1 80", "10.0.0.2 80")
    assert list(kept.numbers(found, {"10.0.0.1 80": 3, "10.0.0.2 80": 4}) or ()) == [4, 3, 3, 0, 0]
    assert list(kept.numbers(found, {"10.0.0.1 80": 3}) or ()) == [0, 3, 3, 0, 0]


def test_the_last_ring_before_of_a_service_holds_also_across_a_snapshot() -> None:
    desired, _ = history()
    settled = Kept("services/web", 1000.0)
    journal = [records.snapshot(desired, SECRETS, [rings()]), records.note(settled, desired, 2000.0)]
    for length, expected in ((1, rings()), (2, settled)):
        replayed = records.replay([through_json(record) for record in journal[:length]])
        assert replayed is not None
        assert replayed.kept == {"services/web": expected}
        assert kept.numbers(settled, {}) is None


@pytest.mark.parametrize("name", ["services/gone", "services/web"])
def test_a_ring_before_of_a_service_that_is_gone_or_another_by_now_is_forgotten(name: str) -> None:
    desired, _ = history()
    old = replace(rings(created=1.0), service=name)
    replayed = records.replay([through_json(records.snapshot(desired, SECRETS, [old]))])
    assert replayed is not None
    assert replayed.kept == {}


def test_a_journal_without_rings_before_loads() -> None:
    desired, _ = history()
    record = through_json(records.snapshot(desired, SECRETS))
    del record["before"]
    replayed = records.replay([record])
    assert replayed is not None
    assert (replayed.desired, replayed.kept) == (desired, {})


def test_a_large_ring_before_of_few_backends_is_a_short_record() -> None:
    desired, _ = history()
    ring = array("H", (1 + slot * 7919 % 10 for slot in range(65537)))
    record = records.note(kept.of("services/web", 1000.0, ring, {n: f"10.0.0.{n} 80" for n in range(1, 11)}), desired, 2000.0)
    assert len(json.dumps(record)) < 65537
    replayed = records.replay([records.snapshot(desired, SECRETS), through_json(record)])
    assert replayed is not None
    assert kept.numbers(replayed.kept["services/web"], {f"10.0.0.{n} 80": n for n in range(1, 11)}) == ring


def test_an_empty_journal_is_no_state() -> None:
    assert records.replay([]) is None


def test_a_gap_in_the_revisions_is_refused() -> None:
    _, made = history()
    with pytest.raises(records.RecordError):
        records.replay([records.snapshot(Desired(), SECRETS), records.change(made[0]), records.change(made[2])])


def test_changes_without_a_snapshot_are_refused() -> None:
    with pytest.raises(records.RecordError):
        records.replay([records.change(history()[1][0])])


def test_a_record_of_another_format_is_refused() -> None:
    with pytest.raises(records.RecordError):
        records.replay([records.snapshot(Desired(), SECRETS) | {"format": 2}])
