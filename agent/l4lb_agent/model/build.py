"""What every control map must hold, from what was asked for and what is seen of the world."""

import ctypes
import functools
import socket
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field

from l4lb_agent.model import hashing, index, layout, mapspec
from l4lb_agent.model.access import policy
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.choice import affinity, port_ranges
from l4lb_agent.model.config import DatapathConfig, Echo, Secrets
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.ids import BackendKey, Ids, backend_keys
from l4lb_agent.model.observed import NextHop
from l4lb_agent.model.pool import NO_RINGS, Pool, RingElements
from l4lb_agent.model.service import Hash, MssClamp, OnEmpty, OuterSource, Protocol, Tracking, VirtualService
from l4lb_agent.model.tables import Elements, Tables, array_key
from l4lb_agent.model.ways import kept
from l4lb_agent.model.ways.mtu import effective
from l4lb_agent.model.ways.vlan import Vlan, place
from l4lb_agent.model.ways.way import is_here, missing, outer_source, way


@dataclass(frozen=True)
class World:
    """What the maps depend on besides what was asked for."""

    config: DatapathConfig
    secrets: Secrets
    second_multiplier: int  # of the kernel's clock
    route_generation: int = 0
    next_hops: Mapping[Address, NextHop] = field(default_factory=dict)  # by backend address; absent while unresolved
    local: frozenset[Address] = frozenset()  # addresses of this host
    vlans: frozenset[Vlan] = frozenset()
    given_up: frozenset[int] = frozenset()  # ids of backends that have been down for longer than their grace
    held_out: frozenset[str] = frozenset()  # names of backends that take no new flows because of their health


@dataclass(frozen=True)
class Built:
    """`tables`: of the ring maps only the elements in use, of the others all that are not zero. `deferred`: names of services and
    backends that must wait for another step, because an id or a ring is not free yet."""

    tables: Tables
    deferred: frozenset[str]


def build(desired: Desired, ids: Ids, rings: Mapping[str, RingElements], world: World, actual: Tables) -> Built:
    """The wanted tables. `rings`: the elements of `now` and `before` by service name, absent or b"" without a ring; `actual`: the maps as
    they are, whose rings and index places are kept where they still fit."""
    keys = backend_keys(desired)
    deferred = {name for name, key in keys.items() if key not in ids.backends or key[0] not in ids.services}
    pool = Pool(world.config, actual)
    services: Elements = {}
    for service in desired.services.values():
        id_ = ids.services.get(service.identity)
        if id_ is None:
            deferred.add(service.name)
            continue
        key = array_key(id_)
        numbers = pool.take(service.ring_size, key, rings.get(service.name, NO_RINGS))
        if numbers is None:
            deferred.add(service.name)
            services[key] = pool.hold(service.ring_size, key) or service_element(service)
        else:
            services[key] = service_element(service, *numbers)
    ranges = port_ranges.place(desired, ids, world.config, actual)
    maps = {**pool.maps, "services": services, "policies": _policies(desired, ids), port_ranges.MAP: ranges.elements}
    maps["lists"] = policy.elements(desired.members.values())
    maps["addresses"] = _addresses(desired, ids, rings, world, ranges.numbers)
    maps["backends"] = _backends(desired, ids, keys, world, actual, pool.held)
    maps["index"] = _index(desired, ids, world, actual)
    maps["snat"] = _snat(world.config)
    maps["vlans"], _ = place(world.vlans)
    keeping = kept.addresses(desired, ids)
    maps[kept.MAP] = kept.elements(keeping, world.secrets, world.config.sizes, actual.get(kept.MAP))
    maps["config"] = {array_key(0): config_element(world, ids.addresses, keeping)}
    return Built(Tables(maps), ranges.deferred.union(deferred))


def ring_element(slots: bytes, size: int) -> bytes:
    """A ring map's element from `size` packed slots, padded."""
    return slots + bytes(2 * (layout.ring_slots(size) - size))


def service_flags(service: VirtualService) -> int:
    """The lower 32 bits of a service's word."""
    return (
        layout.RING_SIZES.index(service.ring_size)
        | layout.SERVICE_PRESENT
        | service.mode << layout.SERVICE_MODE_SHIFT
        | (layout.SERVICE_TRACK_ALL if service.tracking is Tracking.ALL else 0)
        | (layout.SERVICE_SPREAD if service.outer_source is OuterSource.SPREAD else 0)
        | (layout.SERVICE_OUTER_CHECKSUM if service.outer_checksum else 0)
        | service.hash - Hash.TUPLE << layout.SERVICE_HASH_SHIFT
        | service.on_empty - OnEmpty.DROP << layout.SERVICE_ON_EMPTY_SHIFT
        | (layout.SERVICE_AFFINITY if service.affinity else 0)
        | policy.flags(service)
    )


def service_element(service: VirtualService, now: int = 0, before: int = 0) -> bytes:
    """services[id] with the rings of these indices in its class, 0 for none."""
    element = layout.Service(
        word=now << 48 | before << 32 | service_flags(service),
        port=socket.htons(service.port),
        protocol=int(service.protocol),
        family=service.vip.family,
        idle_seconds=service.idle_seconds,
        encap_port=socket.htons(service.encap_port),
        mss=layout.MSS_AUTO if service.mss_clamp is MssClamp.AUTO else service.mss,
        port_end=service.port_end,
        affinity_seconds=service.affinity.seconds,
    )
    element.vip[:] = list(service.vip.packed)
    if service.affinity:
        element.affinity_mask[:] = affinity.mask(service.affinity, service.vip.family)
    return bytes(element)


def backend_element(backend: Backend, service: VirtualService, service_id: int, world: World) -> bytes:
    """backends[id]."""
    here = is_here(backend, service, world.local)
    own = world.config.outer_source
    hop = way(backend, service, world.next_hops, world.local, own)
    flags = (
        (layout.BACKEND_KEEP if backend.keeps_flows else 0)
        | (layout.BACKEND_RESET if backend.resets_flows and service.protocol is Protocol.TCP else 0)  # over UDP nobody hears of it: cut
        | (layout.BACKEND_ELIGIBLE if backend.wants_new_flows and backend.name not in world.held_out and (hop or here) else 0)
        | (layout.BACKEND_HERE if here else 0)
        | (layout.BACKEND_LISTED if policy.listed(service) else 0)
    )
    source = outer_source(backend, service, hop.source, own) if service.mode.encapsulates and hop is not None else None
    mtu = effective(backend.mtu, hop.mtu) if hop is not None else 0
    return _backend_element(backend.address, backend.port, flags, service_id, hop, mtu, source)


def without_way(
    desired: Desired, next_hops: Mapping[Address, NextHop], local: Container[Address], own: Collection[Address]
) -> frozenset[str]:
    """Names of backends that packets cannot be sent to now: they get no slots. `own` are the configured outer sources."""
    services = desired.services
    return frozenset(
        name for name, backend in desired.backends.items() if missing(backend, services[backend.service], next_hops, local, own)
    )


@functools.lru_cache(maxsize=65536)
def _backend_element(
    address: Address, port: int, flags: int, service_id: int, hop: NextHop | None, mtu: int, source: Address | None
) -> bytes:  # fmt: skip
    element = layout.Backend(port=socket.htons(port), flags=flags, service=service_id)
    element.address[:] = list(address.packed)
    if source is not None:
        element.outer_source[:] = list(source.packed)
    if hop is not None:
        element.ifindex, element.mtu, element.vlan = hop.ifindex, mtu, layout.OUT_DEVICE if hop.by_device else hop.vlan
        element.source_mac[:] = list(hop.source_mac)
        element.destination_mac[:] = list(hop.destination_mac)
    return bytes(element)


def cut_element(element: bytes) -> bytes:
    """A backend element whose flows are invalid: what a removed backend leaves until no entry names it."""
    cut = layout.Backend.from_buffer_copy(element)
    cut.flags = 0
    return bytes(cut)


def config_element(world: World, owned: Iterable[Address], keeping: Collection[Address] = ()) -> bytes:
    """config[0]; `owned` are the addresses that the datapath owns, `keeping` those in `kept`."""
    config = world.config
    element = layout.Config(
        layout=layout.LAYOUT_VERSION,
        second_multiplier=world.second_multiplier,
        route_generation=world.route_generation,
        index_mask=mapspec.index_buckets(config.sizes) - 1,
        port_low=config.port_low,
        port_high=config.port_high,
        snat_v4=len(config.snat_of(4)),
        snat_v6=len(config.snat_of(6)),
        flags=(layout.CONFIG_TRANSMIT_REDIRECT if config.redirect else 0)
        | (layout.CONFIG_VLANS if world.vlans else 0)
        | (layout.CONFIG_KEEP if keeping else 0),
        rst_rate=config.rst_rate,
        rst_burst=config.rst_burst,
        icmp_rate=config.icmp_rate,
        icmp_burst=config.icmp_burst,
        quarantine_long=config.timeouts.quarantine_long,
        quarantine_short=config.timeouts.quarantine_short,
        flow_mask=mapspec.flow_buckets(config.sizes) - 1,
        affinity_mask=mapspec.affinity_buckets(config.sizes) - 1,
        flow_index_mask=mapspec.flow_index_buckets(config.sizes) - 1,
        unanswered_mask=mapspec.unanswered_buckets(config.sizes) - 1,
        spare_mask=mapspec.spare_elements(config.sizes) - 1,
        flow_ids=config.sizes.flows - 1,
        kept_mask=mapspec.kept_buckets(config.sizes) - 1,
        spread_v4=int.from_bytes(config.spread_v4[0], "little"),
        spread_v4_mask=int.from_bytes(((1 << 32 - config.spread_v4[1]) - 1).to_bytes(4, "big"), "little"),
        tracked_syn=config.timeouts.tracked_syn,
        tracked_fin=config.timeouts.tracked_fin,
        tracked_rst=config.timeouts.tracked_rst,
    )
    element.spread_v6[:] = list(config.spread_v6)
    for words, addresses in ((element.owned_filter, owned), (element.kept_filter, keeping)):
        for bit in {hashing.owned_bit(address.packed) for address in addresses}:
            words[bit >> 5] |= 1 << (bit & 31)
    element.slot_secret[:] = Secrets.words(world.secrets.slot)
    element.index_secret[:] = Secrets.words(world.secrets.index)
    for state, seconds in config.timeouts.by_state().items():
        element.timeout[state] = seconds
    return bytes(element)


def secrets_of(element: bytes) -> Secrets | None:
    """The secrets that adopted maps work with, None when they were never written."""
    config = layout.Config.from_buffer_copy(element)
    if config.layout == 0:
        return None
    return Secrets(bytes(config.slot_secret), bytes(config.index_secret))


def _echoing(desired: Desired, rings: Mapping[str, RingElements], policy: Echo) -> set[Address]:
    """The VIPs that answer echo requests, were they not this host's."""
    if policy is Echo.NEVER:
        return set()
    served = {name for name, (now, _) in rings.items() if int.from_bytes(now[:2], "little") & layout.SLOT_BACKEND}  # all slots or none
    return {service.vip for service in desired.services.values() if policy is Echo.ALWAYS or service.name in served}


def _addresses(
    desired: Desired, ids: Ids, rings: Mapping[str, RingElements], world: World, ranges: Mapping[port_ranges.Scope, int]
) -> Elements:
    vips = {service.vip: 0 for service in desired.services.values()}
    vips.update((service.vip, ids.services.get(service.identity, 0)) for service in desired.services.values() if not service.port_end)
    echoing = _echoing(desired, rings, world.config.echo) - world.local
    elements: Elements = {}
    for address, id_ in ids.addresses.items():
        element = layout.OwnedAddress(
            flags=(layout.ADDRESS_VIP if address in vips else 0)
            | (layout.ADDRESS_SNAT if address in world.config.snat else 0)
            | (layout.ADDRESS_LOCAL if address in world.local else 0)
            | (layout.ADDRESS_ECHO if address in echoing else 0),
            service=vips.get(address, 0),
            ranges_tcp=ranges.get((address, Protocol.TCP), 0),
            ranges_udp=ranges.get((address, Protocol.UDP), 0),
        )
        element.address[:] = list(address.packed)
        elements[array_key(id_)] = bytes(element)
    return elements


def _backends(desired: Desired, ids: Ids, keys: Mapping[str, BackendKey], world: World, actual: Tables, held: Container[int]) -> Elements:
    there = actual.get("backends")
    elements: Elements = {}
    for id_ in ids.retired:
        element = there.get(array_key(id_), bytes(ctypes.sizeof(layout.Backend)))
        elements[array_key(id_)] = element if id_ in held else cut_element(element)
    for backend in desired.backends.values():
        key = keys[backend.name]
        number, service_id = ids.backends.get(key), ids.services.get(key[0])
        if number is not None and service_id is not None:
            element = backend_element(backend, desired.services[backend.service], service_id, world)
            elements[array_key(number)] = cut_element(element) if number in world.given_up else element
    return {key: element for key, element in elements.items() if any(element)}


def _policies(desired: Desired, ids: Ids) -> Elements:
    services = ((ids.services.get(service.identity), service) for service in desired.services.values())
    elements = {array_key(id_): policy.element(service, desired.lists) for id_, service in services if id_ is not None}
    return {key: element for key, element in elements.items() if any(element)}


def _index(desired: Desired, ids: Ids, world: World, actual: Tables) -> Elements:
    secret, mask = Secrets.words(world.secrets.index), mapspec.index_buckets(world.config.sizes) - 1
    entries = [
        index.entry(layout.INDEX_SERVICE, ids.services[s.identity], s.vip.packed, s.port, int(s.protocol), secret, mask)
        for s in desired.services.values()
        if s.identity in ids.services and not s.port_end
    ]
    entries += [index.entry(layout.INDEX_ADDRESS, id_, a.packed, 0, 0, secret, mask) for a, id_ in ids.addresses.items()]
    return index.place(actual.get("index"), entries)


def _snat(config: DatapathConfig) -> Elements:
    return {
        array_key(base + number): address.packed
        for base, family in ((0, 4), (layout.SNAT_V6_BASE, 6))
        for number, address in enumerate(config.snat_of(family))
    }
