"""Whether a backend can be where it is asked to be: its address and port against the service, the VIPs and this host."""

from collections.abc import Container

from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from l4lb_agent.model.service import Mode, VirtualService


def check(desired: Desired, asked: Backend, service: VirtualService, config: DatapathConfig, local: Container[Address]) -> None:
    """Refuses an address that cannot be a backend of `service`, or is one already."""
    if asked.address.family != service.vip.family and not service.mode.encapsulates:
        raise InvalidArgument(
            f"backend.address: {asked.address} is IPv{asked.address.family}, the VIP {service.vip} is IPv{service.vip.family}: "
            f"only ENCAP crosses families",
            reason="FAMILY_MISMATCH",
            field="backend.address",
            metadata={"address": str(asked.address), "vip": str(service.vip)},
        )
    if asked.address in config.snat:
        raise address_taken("backend.address", asked.address, "is a SNAT address")
    if service.mode.encapsulates and asked.address in config.outer_source:
        raise address_taken("backend.address", asked.address, "is an outer source in agent.toml: it would send to itself")
    if not service.mode.translates and asked.port != service.backend_port:
        alternative = f" or give {service.port}" if service.backend_port else ""
        raise InvalidArgument(
            f"backend.port: {service.name} forwards by {service.mode.name}, which translates no port: leave it out{alternative}",
            reason="PORT_NOT_TRANSLATED",
            field="backend.port",
            metadata={"port": str(service.backend_port)},
        )
    if asked.address in local and service.mode is not Mode.DSR:
        raise FailedPrecondition(
            f"backend.address: {asked.address} is an address of the load balancer itself, which only a DSR service can have as backend "
            f"(with its VIP on the host)",
            reason="BACKEND_HERE",
            field="backend.address",
            metadata={"address": str(asked.address), "mode": service.mode.name},
        )
    for other in desired.services.values():
        if other.vip == asked.address:
            raise address_taken("backend.address", asked.address, f"is the VIP of {other.name}: packets would go round in circles")
    for backend in desired.backends_of(service.name):
        if backend.identity == asked.identity and backend.name != asked.name:
            raise exists(backend.name, "backend.address", f"{backend.name} has the same address and port")


def check_ports(desired: Desired, asked: VirtualService) -> None:
    """Refuses ports that another service of the VIP and protocol has, or some of whose: which takes a packet must be beyond doubt."""
    for other in desired.services.values():
        if (other.vip, other.protocol) != (asked.vip, asked.protocol):
            continue
        if other.identity == asked.identity:
            what = asked.ports if asked.port_end else "port"
            raise exists(other.name, "service.vip", f"{other.name} has the same VIP, {what} and protocol")
        first, last = sorted((one.port, one.port_end or one.port) for one in (other, asked))
        if first[0] < last[0] <= first[1] < last[1]:
            raise FailedPrecondition(
                f"service.port_end: {asked.ports} overlap {other.ports} of {other.name}: one must hold all of the other, or none of it",
                reason="PORTS_OVERLAP",
                field="service.port_end",
                metadata={"resource": other.name, "port": str(other.port), "port_end": str(other.port_end)},
            )


def exists(name: str, field: str, message: str) -> AlreadyExists:
    """The error for something that is there already."""
    return AlreadyExists(message, reason="ALREADY_EXISTS", field=field, metadata={"resource": name})


def address_taken(field: str, address: Address, why: str) -> InvalidArgument:
    """The error for an address that is in use otherwise."""
    return InvalidArgument(f"{field}: {address} {why}", reason="ADDRESS_IN_USE", field=field, metadata={"address": str(address)})
