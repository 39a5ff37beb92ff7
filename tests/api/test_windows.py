"""How the API and l4lbctl tell of changes that have not settled."""

from dataclasses import replace

import pytest
from click.testing import CliRunner

import l4lb
from l4lb.cli.main import cli
from l4lb_agent.model.backend import AdminState, DeadlineAction, Drain
from tests.api.conftest import Agent

SETTLES = 1_800_000_600


@pytest.fixture
def unsettled(agent: Agent) -> Agent:
    """A DSR service with a window that is open, and a drain in it."""
    with l4lb.Client(agent.target) as client:
        client.create_service("web", vip="10.0.0.1", port=80, forwarding_mode="dsr")
        client.add_backend("web/a", address="10.1.0.1")
    services, backends = agent.control.services, agent.control.backends
    services["services/web"] = replace(
        services["services/web"], before_ring_digest="cd" * 32, differing_slots=17, at_risk_slots=400, settle_time=float(SETTLES)
    )
    view = backends["services/web/backends/a"]
    drain = Drain(1_800_000_000.0, None, DeadlineAction.KEEP, "boot")
    draining = replace(view.backend, admin=AdminState.DRAINING, drain=drain)
    backends["services/web/backends/a"] = replace(view, backend=draining, uncounted_until=float(SETTLES))
    return agent


def printed(agent: Agent, line: str) -> str:
    result = CliRunner().invoke(cli, ["-s", agent.target, *line.split()])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_service_says_what_differs_what_is_at_risk_and_when_it_can_settle(unsettled: Agent) -> None:
    with l4lb.Client(unsettled.target) as client:
        shown = client.get_service("web")
    assert (shown.before_ring_digest, shown.differing_slots, shown.at_risk_slots) == ("cd" * 32, 17, 400)
    assert shown.settle_time.seconds == SETTLES
    lines = dict(line.split(maxsplit=1) for line in printed(unsettled, "service show web").replace("AT RISK", "AT-RISK").splitlines())
    assert {name: lines[name] for name in ("BEFORE", "DIFFERING", "AT-RISK", "SETTLES")} == {
        "BEFORE": "cdcdcdcdcdcd",
        "DIFFERING": "17 slots",
        "AT-RISK": "400 slots",
        "SETTLES": "2027-01-15T08:10:00Z",
    }


def test_a_settled_service_has_nothing_to_say_of_it(agent: Agent) -> None:
    with l4lb.Client(agent.target) as client:
        shown = client.create_service("web", vip="10.0.0.1", port=80)
    assert (shown.differing_slots, shown.at_risk_slots, shown.HasField("settle_time")) == (0, 0, False)
    assert not {"BEFORE", "DIFFERING", "AT", "SETTLES"} & {line.split()[0] for line in printed(agent, "service show web").splitlines()}


def test_a_drain_says_until_when_flows_may_go_on_uncounted(unsettled: Agent) -> None:
    with l4lb.Client(unsettled.target) as client:
        assert client.get_backend("web/a").drain.earliest_empty_time.seconds == SETTLES
    assert "0 flows left, others may be until 2027-01-15T08:10:00Z" in printed(unsettled, "backend show web/a")
