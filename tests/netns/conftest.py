"""Laboratories with a running agent, made by the demo's own parts."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from lab.agent import Agent
from lab.direct.backend import Direct
from lab.laboratory import Laboratory
from lab.offload import Peer
from lab.services import Balanced, balanced

# name -> arguments of Laboratory and Agent
MODES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "native-tx": ({"peer": Peer.PROGRAM}, {"mode": "native"}),
    "native-redirect": ({"peer": Peer.GRO}, {"mode": "native", "redirect": True}),
    "generic": ({"peer": Peer.GRO}, {"mode": "generic"}),
}

Setup = Callable[..., AbstractContextManager[Balanced]]


@contextmanager
def set_up(
    mode: str = "native-tx", *, routed: bool = False, two_sided: bool = False, direct: Direct | None = None, wait: bool = True, **agent: Any
) -> Iterator[Balanced]:
    """A laboratory with a READY agent and no service; prints the agent's log when the test fails."""
    laboratory, options = MODES[mode]
    with Laboratory(routed=routed, two_sided=two_sided, direct=direct, **laboratory) as lab:
        made = Agent(lab, **options, **agent)
        try:
            with balanced(lab, made, wait=wait) as running:
                yield running
        finally:
            print(made.log())


@pytest.fixture
def running() -> Iterator[Balanced]:
    """Bridged, native XDP_TX, READY, no service."""
    with set_up() as made:
        yield made


@pytest.fixture
def web(running: Balanced) -> Balanced:
    """The same with HTTP services of both families, weights 3:1."""
    running.add_web()
    return running
