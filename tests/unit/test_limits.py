"""Limits of new flows: what can be asked for, what the datapath is told, and that the journal keeps it."""

import json
from dataclasses import replace

import pytest

from l4lb_agent.model import layout, records
from l4lb_agent.model.access import policy
from l4lb_agent.model.access.limits import UNLIMITED, NewFlowLimit, Rate
from l4lb_agent.model.changes import commands
from l4lb_agent.model.changes.decide import Facts, decide
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.errors import InvalidArgument
from l4lb_agent.model.service import Mode, Protocol, Tracking, VirtualService
from l4lb_agent.model.tables import Grace, Write
from tests.fakes.values import SECRETS, config, service
from tests.unit.test_plan import Node

FACTS = Facts(1000.0, "boot", config())
LIMIT = NewFlowLimit(Rate(1000, 2000), Rate(10, 50), 24, 56)


def told(of: VirtualService) -> layout.Policy:
    return layout.Policy.from_buffer_copy(policy.element(of, {}))


def create(limit: NewFlowLimit, **more: object) -> Desired:
    return decide(Desired(), commands.CreateService(service("web", new_flow_limit=limit, **more)), FACTS).desired


@pytest.mark.parametrize(
    ("limit", "field"),
    [
        (NewFlowLimit(Rate(0, 1)), "per_service.flows_per_second"),
        (NewFlowLimit(Rate(10_000_001, 10_000_000)), "per_service.flows_per_second"),
        (NewFlowLimit(None, Rate(100_001, 100_000)), "per_source.flows_per_second"),
        (NewFlowLimit(Rate(10, 0)), "per_service.burst"),
        (NewFlowLimit(Rate(10, 36_001)), "per_service.burst"),
        (NewFlowLimit(None, Rate(1001, 10)), "per_source.burst"),
        (NewFlowLimit(None, Rate(10, 10), 0), "prefix_v4"),
        (NewFlowLimit(None, Rate(10, 10), 33), "prefix_v4"),
        (NewFlowLimit(None, Rate(10, 10), 32, 129), "prefix_v6"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_by_the_name_of_its_field(limit: NewFlowLimit, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        create(limit)
    assert refused.value.field == f"service.new_flow_limit.{field}"


@pytest.mark.parametrize("rate", [Rate(1, 1), Rate(1, 3600), Rate(100_000, 1000), Rate(1000, 10)])
def test_the_ends_of_each_range_are_taken(rate: Rate) -> None:
    limit = NewFlowLimit(rate, rate, 1, 128)
    assert create(limit).services["services/web"].new_flow_limit == limit


def test_udp_that_is_not_tracked_has_no_flows_to_limit() -> None:
    udp = {"protocol": Protocol.UDP, "mode": Mode.DSR}
    with pytest.raises(InvalidArgument) as refused:
        create(LIMIT, tracking=Tracking.CHANGES, **udp)
    assert refused.value.field == "service.new_flow_limit"
    assert "flow_tracking to ALL" in refused.value.message
    assert create(LIMIT, tracking=Tracking.ALL, **udp).services


def test_limits_are_changed_and_taken_away_by_an_update() -> None:
    desired = create(UNLIMITED)
    for wanted in (LIMIT, NewFlowLimit(Rate(5, 5)), UNLIMITED):
        desired = decide(desired, commands.UpdateService("services/web", new_flow_limit=wanted), FACTS).desired
        assert desired.services["services/web"].new_flow_limit == wanted
    kept = decide(desired, commands.UpdateService("services/web", idle_seconds=7), FACTS).desired
    assert kept.services["services/web"].new_flow_limit == UNLIMITED


def test_a_service_without_limits_is_told_nothing() -> None:
    assert not any(policy.element(service("web"), {}))
    assert policy.flags(service("web")) == 0


@pytest.mark.parametrize("limit", [NewFlowLimit(Rate(5, 5)), NewFlowLimit(None, Rate(5, 5))])
def test_either_limit_makes_the_datapath_look(limit: NewFlowLimit) -> None:
    assert policy.flags(service("web", new_flow_limit=limit)) == layout.SERVICE_LIMITED


@pytest.mark.parametrize("flows", [1, 7, 100, 999, 100_000])
def test_intervals_are_a_second_by_the_rate_to_three_thousandths(flows: int) -> None:
    rate = Rate(flows, max(flows // 10, 1))
    element = told(service("web", new_flow_limit=NewFlowLimit(rate, rate)))
    assert element.service_interval == pytest.approx(2**40 / flows, rel=1e-5)
    assert element.source_interval == pytest.approx(2**40 / flows, rel=3e-3)
    assert element.source_interval % 2**16 == 0, "the bits below belong to the prefix's tag"
    assert element.service_tolerance == rate.burst * element.service_interval
    assert element.source_tolerance == rate.burst * element.source_interval


def test_the_greatest_bucket_fits_into_what_the_datapath_takes_for_full() -> None:
    element = told(service("web", new_flow_limit=NewFlowLimit(Rate(1, 3600), Rate(1, 3600))))
    assert element.service_tolerance < 2**52
    assert element.source_tolerance < 2**52


@pytest.mark.parametrize(
    ("family", "bits", "mask"),
    [
        (4, 32, "ff" * 16),
        (4, 24, "ff" * 15 + "00"),
        (4, 1, "ff" * 12 + "80000000"),
        (6, 64, "ff" * 8 + "00" * 8),
        (6, 1, "80" + "00" * 15),
        (6, 128, "ff" * 16),
    ],
)
def test_a_mask_keeps_the_first_bits_of_its_family(family: int, bits: int, mask: str) -> None:
    assert policy.source_mask(family, bits).hex() == mask


def test_the_mask_is_that_of_the_vips_family() -> None:
    v4 = told(service("a", new_flow_limit=LIMIT))
    v6 = told(service("b", "2001:db8::1", new_flow_limit=LIMIT))
    assert bytes(v4.source_mask).hex() == "ff" * 15 + "00"
    assert bytes(v6.source_mask).hex() == "ff" * 7 + "00" * 9


def test_a_policy_is_written_before_the_word_that_points_to_it_and_taken_away_after() -> None:
    node = Node()
    node.ask(commands.CreateService(service("web")))
    node.settle()
    for limit, order in ((LIMIT, ["policies", "services"]), (UNLIMITED, ["services", "grace", "policies"])):
        node.ask(commands.UpdateService("services/web", new_flow_limit=limit))
        steps = node.steps()
        names = ["grace" if isinstance(step, Grace) else step.map for step in steps]
        assert names == order
        for step in steps:
            if isinstance(step, Write):
                node.write(step)
        assert not node.settle()


def test_the_journal_keeps_limits_and_an_older_one_has_none() -> None:
    desired = create(LIMIT)
    record = json.loads(json.dumps(records.snapshot(desired, SECRETS)))
    replayed = records.replay([record])
    assert replayed
    assert replayed.desired == desired
    del record["services"][0]["new_flow_limit"]
    older = records.replay([record])
    assert older
    assert older.desired.services["services/web"] == replace(desired.services["services/web"], new_flow_limit=UNLIMITED)
