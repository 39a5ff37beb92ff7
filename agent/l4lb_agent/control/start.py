"""What the agent begins with: the maps as they are, the journal as it was left, and which secrets hold."""

import logging
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace

from l4lb_agent.control.ports import Datapath, JournalFile
from l4lb_agent.model import layout, records
from l4lb_agent.model.address import Address
from l4lb_agent.model.build import secrets_of
from l4lb_agent.model.changes import difference
from l4lb_agent.model.changes.difference import Differences
from l4lb_agent.model.config import Secrets
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.observed import NextHop
from l4lb_agent.model.records import Replayed
from l4lb_agent.model.tables import Tables, array_key

_log = logging.getLogger(__name__)


class JournalMissing(Exception):
    """The pinned maps forward for services of which the journal knows nothing: going on would delete them."""


@dataclass(frozen=True)
class Started:
    """The maps, the desired state and the next hops in use."""

    actual: Tables
    replayed: Replayed
    next_hops: Mapping[Address, NextHop]


def begin(datapath: Datapath, journal: JournalFile, made: Secrets) -> Started:
    """Reads maps and journal; a new journal begins with a snapshot that holds `made`, the secrets of a first start.

    Secrets of adopted maps win over the journal's: their flows and index entries were placed by them, and exchanging those of an
    attached program would make every packet miss for an instant. Raises JournalMissing, records.RecordError, OSError."""
    actual = datapath.read_tables()
    replayed = records.replay(journal.load())
    config = actual.get("config").get(array_key(0))
    adopted = secrets_of(config) if config else None
    if replayed is None:
        services = sum(map(any, actual.get("services").values()))
        if services:
            raise JournalMissing(
                f"the journal is empty, but the pinned maps forward for {services} services: put the journal back into state_dir, "
                "or give up those services by `l4lb-agent detach`"
            )
        replayed = Replayed(adopted or made, Desired(), ())
        journal.snapshot(records.snapshot(replayed.desired, replayed.secrets))
    elif adopted is not None and adopted != replayed.secrets:
        _log.warning("event=secrets_adopted why='the pinned maps work with other secrets than the journal holds'")
        replayed = replace(replayed, secrets=adopted)
        journal.snapshot(records.snapshot(replayed.desired, replayed.secrets, [*replayed.kept.values(), *replayed.flaps.values()]))
    return Started(actual, replayed, next_hops(actual))


def unaudited(replayed: Replayed, told: Set[int]) -> Iterator[tuple[str, Differences]]:
    """(request id, differences) of changes that are in the journal and not in the audit, whose last lines tell of the revisions `told`:
    an agent was killed between the one and the other. Nothing is known of changes before those lines, or without any."""
    state = replayed.base
    for change in replayed.changes:
        if told and change.revision > min(told) and change.revision not in told and change.revision > state.revision:
            yield change.request.request_id if change.request else "", difference.between(state, change)
        state = state.apply(change)


def next_hops(actual: Tables) -> dict[Address, NextHop]:
    """What the backends' elements say: it holds until the network says otherwise."""
    found: dict[Address, NextHop] = {}
    for element in actual.get("backends").values():
        backend = layout.Backend.from_buffer_copy(element)
        if backend.ifindex and backend.flags & layout.BACKEND_KEEP:
            source = Address(bytes(backend.outer_source)) if any(backend.outer_source) else None
            macs = bytes(backend.source_mac), bytes(backend.destination_mac)
            hop = NextHop("", backend.ifindex, *macs, None, backend.mtu, source, backend.vlan)
            if backend.vlan == layout.OUT_DEVICE:
                hop = replace(hop, vlan=0, by_device=True)
            address = Address(bytes(backend.address))
            if source is not None or address not in found:  # elements of services that do not encapsulate name none
                found[address] = hop
    return found
