"""Whether packets can be sent to a backend at all, by its service's mode, and from which address."""

from collections.abc import Container, Iterable, Mapping

from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.observed import NextHop
from l4lb_agent.model.service import Mode, OuterSource, VirtualService


def is_here(backend: Backend, service: VirtualService, local: Container[Address]) -> bool:
    """Whether a backend is this host itself: its packets are passed up. Only where the host has the VIP, too: it would route them on."""
    return service.mode is Mode.DSR and backend.address in local and service.vip in local


def outer_source(backend: Backend, service: VirtualService, kernels: Address | None, own: Iterable[Address]) -> Address | None:
    """Source of outer headers to a backend: of the configured ones the one of its family, else what the kernel would use. Not the VIP,
    which the backend has as well and would take for a forgery."""
    source = next((address for address in own if address.family == backend.address.family), kernels)
    return None if source == service.vip else source


def missing(
    backend: Backend, service: VirtualService, next_hops: Mapping[Address, NextHop], local: Container[Address], own: Iterable[Address]
) -> str:
    """Why the service's packets cannot be sent to a backend now, "" when they can. `own` are the configured outer sources. By DSR not over
    a router: it would find the VIP in them, and send them back."""
    address, hop = backend.address, next_hops.get(backend.address)
    if is_here(backend, service, local):
        return ""
    if service.mode is Mode.DSR and address in local:
        return here_without_vip(address, service.vip)
    if hop is None:
        return f"the next hop of {address} is not resolved: no route, or no answer from the neighbour"
    if hop.trouble:
        return hop.trouble
    if hop.gateway is not None and service.mode is Mode.DSR:
        return f"{address} is behind the router {hop.gateway}: DSR reaches backends on the same link only, ENCAP the others"
    if service.outer_source is OuterSource.REAL and outer_source(backend, service, hop.source, own) is None:
        return without_source(address)
    return ""


def here_without_vip(address: Address, vip: Address) -> str:
    """What is wrong with a backend that is this host, which does not have its VIP."""
    return f"{address} is this host, which does not have {vip} and would send its packets on; run {add_vip(vip)}"


def add_vip(vip: Address) -> str:
    """The command that gives the host a VIP."""
    return f"ip address add {vip}/{32 if vip.family == 4 else 128} dev lo"


def without_source(address: Address) -> str:
    """What is wrong where nothing can be the source of outer headers."""
    return (
        f"this host has no IPv{address.family} address, beside the VIP and those of a link, to send outer headers to {address} from: "
        "give it one, or set outer_source under [datapath] in agent.toml"
    )


def way(
    backend: Backend,
    service: VirtualService,
    next_hops: Mapping[Address, NextHop],
    local: Container[Address] = (),
    own: Iterable[Address] = (),
) -> NextHop | None:
    """How the service's packets leave for a backend; None while they cannot, and where the backend is this host."""
    return None if missing(backend, service, next_hops, local, own) else next_hops.get(backend.address)
