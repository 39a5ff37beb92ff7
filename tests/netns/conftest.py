"""Laboratories with a running agent, made by the demo's own parts."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Any

import pytest

from lab.agent import Agent
from lab.direct.modes import Mode
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
    mode: str = "native-tx", *, routed: bool = False, two_sided: bool = False, forwarding: Mode = Mode.NAT, wait: bool = True,
    options: Mapping[str, Any] = MappingProxyType({}), over: Mapping[str, int] = MappingProxyType({}), **agent: Any,
) -> Iterator[Balanced]:  # fmt: skip
    """A laboratory with a READY agent and no service; prints the agent's log when the test fails. Services will be of the mode `forwarding`
    with these further `options` (those of `encap` are its fields), backends `over` the given families."""
    laboratory, attached = MODES[mode]
    encap = options.get("encap", {})
    service = {**options, **forwarding.service(**encap)}
    with Laboratory(routed=routed, two_sided=two_sided, through=forwarding.through, direct=forwarding.direct, **laboratory) as lab:
        made = Agent(lab, **attached, **agent)
        try:
            with balanced(lab, made, wait=wait, options=service, over=over) as running:
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
