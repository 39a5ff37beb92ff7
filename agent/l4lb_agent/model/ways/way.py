"""Whether packets can be sent to a backend at all, by its service's mode."""

from collections.abc import Container, Mapping

from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.observed import NextHop
from l4lb_agent.model.service import Mode, VirtualService


def is_here(backend: Backend, service: VirtualService, local: Container[Address]) -> bool:
    """Whether a backend is this host itself: its packets are passed up."""
    return service.mode is Mode.DSR and backend.address in local


def way(backend: Backend, service: VirtualService, next_hops: Mapping[Address, NextHop]) -> NextHop | None:
    """How the service's packets leave for a backend, None while they cannot. By DSR not over a router: it would find the VIP in them, and
    send them back."""
    hop = next_hops.get(backend.address)
    if hop is None or hop.trouble or (hop.gateway is not None and service.mode is Mode.DSR):
        return None
    return hop
