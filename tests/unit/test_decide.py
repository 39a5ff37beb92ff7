"""Decisions on requests: what changes, what is refused and which field is to blame."""

from dataclasses import replace

import pytest

from l4lb_agent.model import errors
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import AdminState, Backend, DeadlineAction, DrainResult
from l4lb_agent.model.changes import commands
from l4lb_agent.model.changes.decide import Decision, Facts, decide, decide_once
from l4lb_agent.model.desired import Change, Desired
from l4lb_agent.model.service import ANY_PORT, Mode, OnEmpty, Protocol, Tracking
from tests.fakes.values import SNAT, address, backend, config, service, small_sizes

FACTS = Facts(now=1000.0, boot_id="boot-1", config=config())
WEB = "services/web"
A, B = f"{WEB}/backends/a", f"{WEB}/backends/b"


def after(*asked: commands.Command, facts: Facts = FACTS, desired: Desired | None = None) -> Desired:
    state = desired or Desired()
    for command in asked:
        state = decide(state, command, facts).desired
    return state


def web() -> Desired:
    """services/web with backends a and b."""
    return after(
        commands.CreateService(service("web")),
        commands.AddBackend(backend("web", "a", "10.0.0.1")),
        commands.AddBackend(backend("web", "b", "10.0.0.2")),
    )


def refused(
    kind: type[errors.Refused], field: str, command: commands.Command, desired: Desired | None = None, facts: Facts = FACTS
) -> errors.Refused:
    with pytest.raises(kind) as caught:
        decide(web() if desired is None else desired, command, facts)
    assert caught.value.field == field
    assert caught.value.reason
    return caught.value


def test_each_change_of_a_resource_is_one_revision() -> None:
    assert web().revision == 3


def test_a_change_that_changes_nothing_answers_without_a_new_revision() -> None:
    decision = decide(web(), commands.UpdateBackend(A, weight=1), FACTS)
    assert (decision.change, decision.revision, decision.backend) == (None, 3, web().backends[A])


def test_a_resource_carries_the_revision_and_times_of_its_changes() -> None:
    later = Facts(now=2000.0, boot_id="boot-1", config=config())
    changed = decide(web(), commands.UpdateBackend(A, weight=5), later).backend
    assert changed is not None
    assert (changed.revision, changed.created, changed.updated, changed.weight) == (4, 1000.0, 2000.0, 5)


def test_a_backend_without_port_takes_the_port_of_its_service() -> None:
    decision = decide(web(), commands.AddBackend(backend("web", "c", "10.0.0.3", 0)), FACTS)
    assert decision.backend is not None
    assert decision.backend.port == 80


@pytest.mark.parametrize("name", ["Web", "1web", "-web", "w" * 64, "we/b", "wéb", ""])
def test_a_service_name_that_cannot_be_is_refused(name: str) -> None:
    refused(errors.InvalidArgument, "service_id", commands.CreateService(service(name)))


@pytest.mark.parametrize("name", ["A", "9", "b_1", "b" * 64])
def test_a_backend_name_that_cannot_be_is_refused(name: str) -> None:
    refused(errors.InvalidArgument, "backend_id", commands.AddBackend(backend("web", name, "10.0.0.3")))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("service.port", {"port": 0}),
        ("service.port", {"port": 65536}),
        ("service.ring_size", {"ring_size": 1000}),
        ("service.idle_timeout", {"idle_seconds": 0}),
        ("service.idle_timeout", {"idle_seconds": 18 * 3600 + 1}),
        ("service.annotations", {"annotations": {str(n): "" for n in range(65)}}),
        ("service.annotations", {"annotations": {"k" * 257: ""}}),
        ("service.annotations", {"annotations": {"k": "v" * 4097}}),
    ],
)
def test_a_service_field_out_of_range_is_refused_by_name(field: str, values: dict[str, object]) -> None:
    refused(errors.InvalidArgument, field, commands.CreateService(service("new", "192.0.2.9", **values)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("backend.port", {"port": 65536}),
        ("backend.weight", {"weight": -1}),
        ("backend.weight", {"weight": 65536}),
        ("backend.admin_state", {"admin": AdminState.DRAINING}),
        ("backend.admin_state", {"admin": AdminState.DRAINED}),
        ("backend.annotations", {"annotations": {"": "v"}}),
    ],
)
def test_a_backend_field_out_of_range_is_refused_by_name(field: str, values: dict[str, object]) -> None:
    refused(errors.InvalidArgument, field, commands.AddBackend(backend("web", "c", "10.0.0.3", **values)))  # type: ignore[arg-type]


def test_the_limits_of_each_range_are_accepted() -> None:
    for number, weight in enumerate((0, 65535)):
        assert decide(web(), commands.AddBackend(backend("web", "c", "10.0.0.3", 1 + number * 65534, weight=weight)), FACTS).change


def test_duplicates_by_name_and_by_identity_are_refused() -> None:
    refused(errors.AlreadyExists, "service_id", commands.CreateService(service("web", "192.0.2.9")))
    refused(errors.AlreadyExists, "service.vip", commands.CreateService(service("other")))
    refused(errors.AlreadyExists, "backend_id", commands.AddBackend(backend("web", "a", "10.0.0.9")))
    refused(errors.AlreadyExists, "backend.address", commands.AddBackend(backend("web", "c", "10.0.0.1")))
    refused(errors.AlreadyExists, "backend.address", commands.UpdateBackend(A, address=address("10.0.0.2")))


def test_another_port_or_protocol_is_another_service_on_the_same_vip() -> None:
    state = after(
        commands.CreateService(service("web-tls", port=443)), commands.CreateService(service("dns", protocol=Protocol.UDP)), desired=web()
    )
    assert len(state.services) == 3


@pytest.mark.parametrize("ports", [(70, 80), (80, 90), (70, 90), ANY_PORT, (81, 90), (70, 79), (8000, 0)])
def test_ranges_of_ports_may_lie_inside_each_other_or_apart(ports: tuple[int, int]) -> None:
    desired = web()
    for name, (first, last) in {"one": ports, "two": (60, 100)}.items():
        desired = decide(desired, commands.CreateService(service(name, "192.0.2.1", first, port_end=last)), FACTS).desired
    assert len(desired.services) == 3


@pytest.mark.parametrize(("first", "last"), [(60, 70), (60, 89), (71, 91), (90, 100), (90, 65535)])
def test_ranges_of_ports_that_overlap_in_part_are_refused_by_the_name_of_the_other(first: int, last: int) -> None:
    desired = decide(web(), commands.CreateService(service("range", "192.0.2.1", 70, port_end=90)), FACTS).desired
    error = refused(
        errors.FailedPrecondition, "service.port_end", commands.CreateService(service("x", "192.0.2.1", first, port_end=last)), desired
    )
    assert (error.reason, error.metadata["resource"]) == ("PORTS_OVERLAP", "services/range")
    assert f"ports {first} to {last} overlap ports 70 to 90 of services/range" in str(error)
    for vip, protocol in (("192.0.2.2", Protocol.TCP), ("192.0.2.1", Protocol.UDP)):
        elsewhere = service("x", vip, first, port_end=last, protocol=protocol)
        assert decide(desired, commands.CreateService(elsewhere), FACTS).service is not None


@pytest.mark.parametrize("ports", [(70, 90), ANY_PORT])
def test_the_same_range_twice_is_refused(ports: tuple[int, int]) -> None:
    desired = decide(web(), commands.CreateService(service("range", "192.0.2.1", ports[0], port_end=ports[1])), FACTS).desired
    command = commands.CreateService(service("other", "192.0.2.1", ports[0], port_end=ports[1]))
    error = refused(errors.AlreadyExists, "service.vip", command, desired)
    assert error.metadata["resource"] == "services/range"


def test_a_vip_has_as_many_ranges_as_its_table_holds() -> None:
    facts = replace(FACTS, config=config(sizes=small_sizes(services=1000, rings_1021=1000)))
    made = [commands.CreateService(service(f"r{n}", "192.0.2.9", 1000 + 3 * n, port_end=1001 + 3 * n)) for n in range(64)]
    full = after(*made[:-1], facts=facts)
    error = refused(errors.ResourceExhausted, "service.port_end", made[-1], full, facts)
    assert error.reason == "PORT_RANGES_REACHED"
    adjacent = commands.CreateService(service("next", "192.0.2.9", 1188, port_end=1190))
    assert decide(full, adjacent, facts).service is not None, "one that begins where another ends needs less room"


@pytest.mark.parametrize("mode", [Mode.NAT, Mode.DSR, Mode.IPIP])
def test_a_backend_of_several_ports_keeps_each_packets_port_or_takes_all_to_one(mode: Mode) -> None:
    tracking = Tracking.NONE if mode is Mode.NAT else Tracking.CHANGES
    made = commands.CreateService(service("range", "192.0.2.1", 70, port_end=90, mode=mode, tracking=tracking))
    desired = decide(web(), made, FACTS).desired
    kept = decide(desired, commands.AddBackend(backend("range", "a", "10.0.0.1", 0)), FACTS)
    assert kept.backend is not None
    assert kept.backend.port == 0
    named = commands.AddBackend(backend("range", "a", "10.0.0.1", 8080))
    if mode is Mode.NAT:
        taken = decide(desired, named, FACTS).backend
        assert taken is not None
        assert taken.port == 8080
    else:
        assert refused(errors.InvalidArgument, "backend.port", named, desired).reason == "PORT_NOT_TRANSLATED"


def test_the_same_server_may_serve_two_services_and_two_ports() -> None:
    state = after(commands.CreateService(service("tls", port=443)), desired=web())
    state = after(
        commands.AddBackend(backend("tls", "a", "10.0.0.1")), commands.AddBackend(backend("web", "c", "10.0.0.1", 9)), desired=state
    )
    assert len(state.backends) == 4


def test_addresses_that_would_make_packets_circle_are_refused() -> None:
    refused(errors.InvalidArgument, "service.vip", commands.CreateService(service("x", SNAT)))
    refused(errors.InvalidArgument, "service.vip", commands.CreateService(service("x", "10.0.0.1")))
    refused(errors.InvalidArgument, "backend.address", commands.AddBackend(backend("web", "c", "192.0.2.1")))
    refused(errors.InvalidArgument, "backend.address", commands.AddBackend(backend("web", "c", SNAT)))
    refused(errors.InvalidArgument, "backend.address", commands.UpdateBackend(A, address=address("192.0.2.1")))


def test_an_outer_source_is_neither_a_vip_nor_the_backend_that_it_sends_to() -> None:
    source = "10.0.0.250"
    facts = replace(FACTS, config=config(outer_source=(address(source),)))
    refused(errors.InvalidArgument, "service.vip", commands.CreateService(service("x", source)), facts=facts)
    tracked = {"tracking": Tracking.ALL}
    modes = (service("tunnel", port=1, mode=Mode.IPIP, **tracked), service("plain", port=2, mode=Mode.DSR, **tracked))
    state = after(*map(commands.CreateService, modes), desired=web())
    refused(errors.InvalidArgument, "backend.address", commands.AddBackend(backend("tunnel", "a", source, 1)), state, facts)
    for name, at in (("tunnel", "10.0.0.9"), ("plain", source)):
        after(commands.AddBackend(backend(name, "a", at, 1 if name == "tunnel" else 2)), facts=facts, desired=state)


def test_a_backend_has_the_family_of_its_vip() -> None:
    error = refused(errors.InvalidArgument, "backend.address", commands.AddBackend(backend("web", "c", "2001:db8::1")))
    assert error.reason == "FAMILY_MISMATCH"


def test_what_does_not_exist_is_not_found() -> None:
    refused(errors.NotFound, "service.name", commands.UpdateService("services/none", idle_seconds=5))
    refused(errors.NotFound, "name", commands.DeleteService("services/none"))
    refused(errors.NotFound, "parent", commands.AddBackend(backend("none", "a", "10.0.0.1")))
    refused(errors.NotFound, "backend.name", commands.UpdateBackend(f"{WEB}/backends/none", weight=1))
    for command in (commands.RemoveBackend, commands.DrainBackend, commands.UndrainBackend):
        refused(errors.NotFound, "name", command(f"{WEB}/backends/none"))


def test_allow_missing_makes_deletion_of_nothing_ok() -> None:
    assert decide(web(), commands.DeleteService("services/none", allow_missing=True), FACTS).change is None
    assert decide(web(), commands.RemoveBackend(f"{WEB}/backends/none", allow_missing=True), FACTS).change is None


def test_an_update_creates_what_is_missing_when_asked() -> None:
    made = decide(web(), commands.UpdateBackend(f"{WEB}/backends/c", create=backend("web", "c", "10.0.0.3")), FACTS)
    assert made.backend is not None
    assert made.revision == 4
    made = decide(web(), commands.UpdateService("services/new", create=service("new", "192.0.2.7")), FACTS)
    assert made.service is not None


def test_what_an_empty_service_does_can_be_changed_at_any_time() -> None:
    changed = decide(web(), commands.UpdateService(WEB, on_empty=OnEmpty.RESET), FACTS)
    assert changed.service is not None
    assert changed.service.on_empty is OnEmpty.RESET
    assert replace(changed.service, on_empty=OnEmpty.DROP, revision=0, updated=0.0) == replace(web().services[WEB], revision=0, updated=0.0)


def test_an_etag_of_another_version_aborts_and_the_right_one_does_not() -> None:
    etag = web().backends[A].etag
    refused(errors.Aborted, "backend.etag", commands.UpdateBackend(A, weight=2, etag='"0"'))
    refused(errors.Aborted, "service.etag", commands.UpdateService(WEB, idle_seconds=2, etag='"0"'))
    refused(errors.Aborted, "etag", commands.RemoveBackend(A, etag='"0"'))
    refused(errors.Aborted, "etag", commands.DrainBackend(A, etag='"0"'))
    refused(errors.Aborted, "etag", commands.DeleteService(WEB, etag='"0"', force=True))
    changed = decide(web(), commands.UpdateBackend(A, weight=2, etag=etag), FACTS)
    assert changed.backend is not None
    assert changed.backend.etag != etag


def test_a_service_with_backends_is_deleted_only_by_force_and_takes_them_along() -> None:
    refused(errors.FailedPrecondition, "force", commands.DeleteService(WEB))
    gone = decide(web(), commands.DeleteService(WEB, force=True), FACTS)
    assert (dict(gone.desired.services), dict(gone.desired.backends), gone.revision) == ({}, {}, 4)


def test_a_backend_with_flows_is_removed_only_by_force() -> None:
    busy = Facts(1000.0, "boot-1", config(), live_flows={A: 3})
    error = refused(errors.FailedPrecondition, "force", commands.RemoveBackend(A), facts=busy)
    assert error.metadata["live_flows"] == "3"
    assert A not in decide(web(), commands.RemoveBackend(A, force=True), busy).desired.backends
    assert A not in decide(web(), commands.RemoveBackend(A), FACTS).desired.backends


def test_a_backend_that_may_have_flows_that_nobody_counts_is_removed_only_by_force() -> None:
    unsure = Facts(1000.0, "boot-1", config(), uncounted=frozenset({A}))
    error = refused(errors.FailedPrecondition, "force", commands.RemoveBackend(A), facts=unsure)
    assert error.reason == "FLOWS_UNCOUNTED"
    assert A not in decide(web(), commands.RemoveBackend(A, force=True), unsure).desired.backends
    cut = after(commands.DrainBackend(A, 1.0, DeadlineAction.CUT), commands.EndDrain(A, DrainResult.DEADLINE_CUT, 3), desired=web())
    assert A not in decide(cut, commands.RemoveBackend(A), unsure).desired.backends


def test_a_backend_whose_flows_were_cut_is_removed_without_force() -> None:
    state = after(commands.DrainBackend(A, 1.0, DeadlineAction.CUT), commands.EndDrain(A, DrainResult.DEADLINE_CUT, 3), desired=web())
    busy = Facts(1000.0, "boot-1", config(), live_flows={A: 3})
    assert A not in decide(state, commands.RemoveBackend(A), busy).desired.backends


def test_a_drain_remembers_when_how_and_under_which_kernel_it_began() -> None:
    facts = Facts(1000.0, "boot-1", config(), live_flows={A: 7})
    drained = decide(web(), commands.DrainBackend(A, 60.0, DeadlineAction.RESET), facts).backend
    assert drained is not None
    assert drained.drain is not None
    assert (drained.admin, drained.drain.deadline, drained.drain.initial_flows) == (AdminState.DRAINING, 1060.0, 7)
    assert (drained.drain.boot_id, drained.drain.action) == ("boot-1", DeadlineAction.RESET)


def test_the_last_backend_is_drained_only_when_allowed() -> None:
    one = after(commands.DrainBackend(A), desired=web())
    refused(errors.FailedPrecondition, "allow_empty", commands.DrainBackend(B), one)
    assert decide(one, commands.DrainBackend(B, allow_empty=True), FACTS).backend is not None


def test_a_backend_that_takes_no_new_flows_does_not_count_as_another_one() -> None:
    facts = Facts(1000.0, "boot-1", config(), slotless=frozenset({B}))
    refused(errors.FailedPrecondition, "allow_empty", commands.DrainBackend(A), facts=facts)


def test_a_backend_that_receives_nothing_is_drained_without_asking_for_others() -> None:
    state = after(commands.UpdateBackend(A, admin=AdminState.DISABLED), commands.UpdateBackend(B, admin=AdminState.DISABLED), desired=web())
    assert decide(state, commands.DrainBackend(A), FACTS).change


def test_a_running_drain_takes_another_deadline_and_keeps_its_beginning() -> None:
    state = after(commands.DrainBackend(A, 60.0), desired=web())
    later = Facts(1030.0, "boot-1", config(), live_flows={A: 1})
    drain = decide(state, commands.DrainBackend(A, 5.0, DeadlineAction.CUT), later).desired.backends[A].drain
    assert drain is not None
    assert (drain.started, drain.deadline, drain.action, drain.initial_flows) == (1000.0, 1035.0, DeadlineAction.CUT, 0)


def test_undrain_enables_and_forgets_the_drain() -> None:
    for ended in (False, True):
        state = after(commands.DrainBackend(A), desired=web())
        if ended:
            state = after(commands.EndDrain(A, DrainResult.EMPTY, 0), desired=state)
        back = decide(state, commands.UndrainBackend(A), FACTS).backend
        assert back is not None
        assert (back.admin, back.drain) == (AdminState.ENABLED, None)


def test_admin_states_change_only_as_the_table_says() -> None:
    refused(errors.FailedPrecondition, "name", commands.UndrainBackend(A))
    draining = after(commands.DrainBackend(A), desired=web())
    refused(errors.FailedPrecondition, "backend.admin_state", commands.UpdateBackend(A, admin=AdminState.ENABLED), draining)
    drained = after(commands.EndDrain(A, DrainResult.EMPTY, 0), desired=draining)
    refused(errors.FailedPrecondition, "name", commands.DrainBackend(A), drained)
    refused(errors.FailedPrecondition, "name", commands.EndDrain(A, DrainResult.EMPTY, 0), drained)
    refused(errors.InvalidArgument, "backend.admin_state", commands.UpdateBackend(A, admin=AdminState.DRAINING))


def test_a_draining_state_may_be_sent_back_as_it_was_read() -> None:
    draining = after(commands.DrainBackend(A), desired=web())
    assert decide(draining, commands.UpdateBackend(A, admin=AdminState.DRAINING, weight=9), FACTS).change


@pytest.mark.parametrize("setting", ["services", "backends", "addresses", "rings_1021"])
def test_a_full_size_is_refused_by_the_name_of_its_setting(setting: str) -> None:
    tight = {"services": {"services": 3}, "backends": {"backends": 4}, "addresses": {"addresses": 4}, "rings_1021": {"rings_1021": 4}}
    facts = Facts(1000.0, "boot-1", config(sizes=small_sizes(**tight[setting])))
    state = Desired()
    asked: list[commands.Command] = [commands.CreateService(service(f"s{n}", f"192.0.2.{n}")) for n in range(1, 40)]
    if setting == "backends":
        asked[1:] = [commands.AddBackend(backend("s1", f"b{n}", f"10.0.0.{n}")) for n in range(1, 40)]
    with pytest.raises(errors.ResourceExhausted) as caught:
        after(*asked, desired=state, facts=facts)
    assert caught.value.metadata["setting"] == setting
    assert setting in caught.value.message


@pytest.mark.parametrize(("mode", "room"), [(Mode.NAT, 5), (Mode.DSR, 2)])
def test_services_with_windows_need_two_rings_each(mode: Mode, room: int) -> None:
    facts = Facts(1000.0, "boot-1", config(sizes=small_sizes(rings_1021=1 + 5 + 2)))
    tracking = Tracking.NONE if mode.translates else Tracking.CHANGES
    asked = [commands.CreateService(service(f"s{n}", f"192.0.2.{n}", mode=mode, tracking=tracking)) for n in range(1, room + 2)]
    state = after(*asked[:room], desired=Desired(), facts=facts)
    with pytest.raises(errors.ResourceExhausted):
        decide(state, asked[room], facts)


def once(desired: Desired, command: commands.Command, request_id: str, request_hash: str, now: float = 1000.0) -> Decision:
    return decide_once(desired, command, Facts(now, "boot-1", config()), request_id, request_hash)


def test_a_repeated_request_gives_its_first_answer_and_changes_nothing() -> None:
    first = once(web(), commands.UpdateBackend(A, weight=5), "id-1", "hash")
    assert first.change is not None
    assert first.change.request is not None
    moved_on = after(commands.UpdateBackend(A, weight=9), desired=first.desired)
    again = once(moved_on, commands.UpdateBackend(A, weight=5), "id-1", "hash")
    assert (again.change, again.revision, again.backend) == (None, first.revision, first.backend)


def test_with_a_request_id_too_the_state_is_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    met, apply = web(), Desired.apply
    applied: list[Change] = []
    monkeypatch.setattr(Desired, "apply", lambda state, change: applied.append(change) or apply(state, change))
    with_id = once(met, commands.UpdateBackend(A, weight=5), "id-1", "hash")
    assert applied == [with_id.change]
    without = decide(met, commands.UpdateBackend(A, weight=5), FACTS)
    assert replace(with_id.desired, remembered=met.remembered) == without.desired


def test_a_repeated_id_with_another_request_is_refused() -> None:
    state = once(web(), commands.UpdateBackend(A, weight=5), "id-1", "hash").desired
    with pytest.raises(errors.InvalidArgument) as caught:
        once(state, commands.UpdateBackend(A, weight=6), "id-1", "other")
    assert caught.value.field == "request_id"


def test_a_request_that_changed_nothing_is_remembered_without_a_revision() -> None:
    decision = once(web(), commands.UpdateBackend(A, weight=1), "id-1", "hash")
    assert decision.change is not None
    assert (decision.change.revision, decision.revision) == (3, 3)
    assert "id-1" in decision.desired.remembered


def test_a_request_id_is_forgotten_after_a_day() -> None:
    state = once(web(), commands.UpdateBackend(A, weight=5), "id-1", "hash").desired
    again = once(state, commands.UpdateBackend(A, weight=6), "id-1", "other", now=1000.0 + 24 * 3600 + 1)
    assert again.backend is not None
    assert again.backend.weight == 6


def test_a_refused_request_is_not_remembered() -> None:
    with pytest.raises(errors.NotFound):
        once(web(), commands.RemoveBackend(f"{WEB}/backends/c"), "id-1", "hash")
    made = once(web(), commands.AddBackend(backend("web", "c", "10.0.0.3")), "id-1", "other")
    assert isinstance(made.backend, Backend)


def test_decisions_do_not_touch_the_state_they_met() -> None:
    state = web()
    decide(state, commands.DeleteService(WEB, force=True), FACTS)
    assert state == web()
    assert isinstance(state.backends[A].address, Address)


@pytest.mark.parametrize(
    ("field", "other"), [("vip", address("192.0.2.99")), ("port", 1234), ("protocol", Protocol.UDP), ("ring_size", 4093)]
)
def test_what_is_fixed_at_creation_may_be_sent_as_it_is_and_not_otherwise(field: str, other: object) -> None:
    now = getattr(web().services[WEB], field)
    assert other != now
    same = commands.UpdateService(WEB, idle_seconds=5, **{field: now})
    assert decide(web(), same, FACTS).desired.services[WEB].idle_seconds == 5
    refused(errors.InvalidArgument, f"service.{field}", commands.UpdateService(WEB, **{field: other}))  # type: ignore[arg-type]
