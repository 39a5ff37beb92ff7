"""A whole agent over fakes with packets in its counters, and what it exports."""

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from l4lb_agent.control.agent import Agent
from l4lb_agent.metrics import families, fill
from tests.fakes.node import Node

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, ...], float]


async def text(agent: Agent, accept: str = OPENMETRICS, *, backends: bool = True) -> str:
    """What a scrape gets."""
    calls = {("AddBackend", "OK"): 3, ("AddBackend", "ABORTED"): 1}
    about = fill.About(await agent.measured(), [("AUDIT_FAILED", "no disk")], calls, "1.2.3")
    sheet = fill.sheet(about, backends=backends, breathe=lambda: None)
    return b"".join(sheet.write(accept, families.EVERY)[1]).decode()


def parsed(exported: str) -> dict[str, Metric]:
    """By family; the library's parser of OpenMetrics is strict."""
    return {family.name: family for family in text_string_to_metric_families(exported)}


def samples(exported: str, name: str) -> Samples:
    """Values of samples of that name by the values of their labels."""
    every = (sample for family in parsed(exported).values() for sample in family.samples)
    return {tuple(sample.labels.values()): sample.value for sample in every if sample.name == name}


@pytest.fixture
def node() -> Node:
    """Without any service."""
    return Node()
