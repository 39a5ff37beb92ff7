"""Backends whose services keep the client's address: they answer to clients, through the load balancer, which knows them by `kept`."""

from collections.abc import Mapping

from l4lb_agent.model import index, layout, mapspec
from l4lb_agent.model.address import Address
from l4lb_agent.model.config import Secrets
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.ids import Ids
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.model.service import Mode
from l4lb_agent.model.tables import Elements

MAP = "kept"


def addresses(desired: Desired, ids: Ids) -> dict[Address, int]:
    """Each address of such a backend with the lowest id of one that has it."""
    found: dict[Address, int] = {}
    for backend in desired.backends.values():
        number = ids.number(desired, backend)
        if number and desired.services[backend.service].mode is Mode.KEEP:
            found[backend.address] = min(number, found.get(backend.address, number))
    return found


def elements(kept: Mapping[Address, int], secrets: Secrets, sizes: Sizes, actual: Elements) -> Elements:
    """The map, close to the `actual` one; raises ResourceExhausted (KEPT_FULL) as index.place."""
    secret, mask = Secrets.words(secrets.index), mapspec.kept_buckets(sizes) - 1
    entries = [index.entry(layout.INDEX_BACKEND, id_, one.packed, 0, 0, secret, mask) for one, id_ in kept.items()]
    return index.place(actual, entries, MAP, "backends")
