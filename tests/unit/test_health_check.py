"""What probes are of, which of them are the same, and what came of one."""

from dataclasses import replace

import pytest

from l4lb_agent.model.health.check import By, HealthCheck, Kind, OnAllDown, ProbeTarget, Target, target
from l4lb_agent.model.health.outcome import LONGEST_DETAIL, Outcome, Why
from tests.fakes.values import address

VIP, OTHER, BACKEND = address("192.0.2.1"), address("2001:db8::1"), address("10.0.0.1")
HTTP = HealthCheck(Kind.HTTP)


def test_a_probe_goes_to_the_backends_port_or_to_that_of_the_check() -> None:
    tcp = HealthCheck(Kind.TCP)
    assert target(tcp, VIP, BACKEND, 8080) == Target(BACKEND, 8080)
    assert target(replace(tcp, port=9000), VIP, BACKEND, 8080) == Target(BACKEND, 9000)


@pytest.mark.parametrize("kind", [Kind.HTTP, Kind.GRPC])
def test_the_host_is_the_vip_unless_the_check_names_one(kind: Kind) -> None:
    check = HealthCheck(kind)
    assert target(check, VIP, BACKEND, 80).host == "192.0.2.1"
    assert target(check, OTHER, BACKEND, 80).host == "[2001:db8::1]"
    assert target(replace(check, host="web.example"), VIP, BACKEND, 80).host == "web.example"


def test_probes_without_a_host_are_the_same_for_all_vips() -> None:
    tcp = HealthCheck(Kind.TCP)
    assert target(tcp, VIP, BACKEND, 80) == target(tcp, OTHER, BACKEND, 80)
    assert target(HTTP, VIP, BACKEND, 80) != target(HTTP, OTHER, BACKEND, 80)


def test_a_probe_of_a_vip_goes_there_by_one_backend_and_is_shared_with_no_other() -> None:
    vip, name = replace(HTTP, target=ProbeTarget.VIP), "services/web/backends/a"
    by = By(name, BACKEND, "DSR")
    found = target(vip, VIP, BACKEND, 80, by)
    assert found == Target(VIP, 80, "192.0.2.1", by)
    assert target(replace(vip, port=81), VIP, BACKEND, 80, by).port == 81
    others = [By("services/web/backends/b", BACKEND, "DSR"), By(name, address("10.0.0.2"), "DSR"), By(name, BACKEND, "IPIP")]
    assert found not in [target(vip, VIP, BACKEND, 80, other) for other in others]
    assert found != target(vip, OTHER, BACKEND, 80, by)
    assert target(HTTP, VIP, BACKEND, 80, by).by is None


def test_a_target_is_said_in_words() -> None:
    assert target(HTTP, VIP, BACKEND, 80).words == "10.0.0.1 port 80"
    by = By("services/web/backends/a", BACKEND, "GUE")
    assert target(replace(HTTP, target=ProbeTarget.VIP), VIP, BACKEND, 80, by).words == "the VIP 192.0.2.1 port 80, by GUE to 10.0.0.1"


@pytest.mark.parametrize(
    "same", [{"rise": 5}, {"fall": 5}, {"port": 80}, {"on_all_down": OnAllDown.REJECT}, {"min_up_percent": 5}, {"host": "a"}]
)
def test_what_the_target_or_the_state_takes_care_of_is_no_parameter_of_a_probe(same: dict[str, object]) -> None:
    assert replace(HTTP, **same).parameters == HTTP.parameters  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        {"interval_seconds": 1.0},
        {"timeout_seconds": 1.0},
        {"path": "/x"},
        {"statuses": ((200, 200),)},
        {"tls": True},
        {"target": ProbeTarget.VIP},
    ],
)
def test_what_a_probe_does_differently_is_a_parameter(other: dict[str, object]) -> None:
    assert replace(HTTP, **other).parameters != HTTP.parameters  # type: ignore[arg-type]


def test_only_ok_is_well_and_only_a_fault_of_this_host_says_nothing() -> None:
    assert [why for why in Why if Outcome(why).ok] == [Why.OK]
    assert [why for why in Why if not Outcome(why).conclusive] == [Why.OWN_FAULT]


def test_a_detail_is_cut_when_it_is_long() -> None:
    assert Outcome(Why.ANSWER, 0.1, "x" * 500).detail == "x" * LONGEST_DETAIL
