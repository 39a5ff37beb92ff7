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
    if not service.mode.translates and asked.port != service.port:
        raise InvalidArgument(
            f"backend.port: {service.name} forwards by {service.mode.name}, which translates no port: leave it out or give {service.port}",
            reason="PORT_NOT_TRANSLATED",
            field="backend.port",
            metadata={"port": str(service.port)},
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


def exists(name: str, field: str, message: str) -> AlreadyExists:
    """The error for something that is there already."""
    return AlreadyExists(message, reason="ALREADY_EXISTS", field=field, metadata={"resource": name})


def address_taken(field: str, address: Address, why: str) -> InvalidArgument:
    """The error for an address that is in use otherwise."""
    return InvalidArgument(f"{field}: {address} {why}", reason="ADDRESS_IN_USE", field=field, metadata={"address": str(address)})
