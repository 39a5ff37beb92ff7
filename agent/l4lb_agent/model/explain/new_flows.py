"""A TCP SYN, or a UDP packet without a flow, for a NAT service: along a flow that is there, or by a new one (bpf/new_flow.h)."""

from typing import Final

from l4lb_agent.model import layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.explain import answers, choice, claims, limits, records, rewriting, sending, services
from l4lb_agent.model.explain.moment import port
from l4lb_agent.model.explain.packet import SYN, End, Packet, Tuple, drop
from l4lb_agent.model.explain.records import Record
from l4lb_agent.model.flows import segments
from l4lb_agent.model.reasons import Reason

RETRANSMISSION_SECONDS: Final = 3
_NEW, _FOLLOW, _RESTART, _LATE = range(4)
_MOST_RACES: Final = 8


def new_flow(packet: Packet) -> End:
    """The end of the packet."""
    why = services.source_fault(packet, link_local=True)
    if why:
        return packet.refuse(why)
    if packet.mode == layout.MODE_KEEP and services.from_kept(packet.now, packet.tuple.source):
        packet.note("source", "a backend that would be answered directly, and not from the VIP", source=Address(packet.tuple.source))
        return drop(Reason.CLIENT_IS_BACKEND)
    picked = choice.pick(packet)
    chosen = picked.backend
    if packet.word & layout.SERVICE_AFFINITY:
        chosen = choice.affine(packet, chosen)
    record = records.of_client(packet)
    reason, found = _along(packet, record, chosen)
    if reason is None:
        reason, found = _create(packet, chosen, picked.hash, record)
    if reason is Reason.NO_BACKEND:
        return answers.no_backend(packet, drop)
    if found and packet.word & layout.SERVICE_AFFINITY and reason is Reason.FLOW_CREATED:
        choice.keep(packet, found.flow.backend)
    if reason not in (Reason.FLOW_CREATED, Reason.TO_BACKEND):
        return answers.stopped(packet, reason)
    backend = packet.now.backend(found.flow.backend) if found else None
    if found is None or backend is None:
        return drop(Reason.FLOW_TABLE_FULL)
    sent = answers.stopped(packet, sending.to_backend(packet, found, backend, reason))
    if packet.tcp and packet.flags & SYN and sent.reason is reason:
        rewriting.clamp_mss(packet, packet.service, backend.mtu)
    return sent


def _along(packet: Packet, record: Record | None, chosen: int) -> tuple[Reason | None, Record | None]:
    """The reason of a packet that goes along the flow that is there, or that may begin none; None when there has to be another flow."""
    live = records.live(packet, record, "client's")
    backend = packet.now.backend(live.flow.backend) if live else None
    if live is None or backend is None:
        return _admission(packet), live
    way = _way(packet, live, backend, chosen)
    if way == _FOLLOW:
        if packet.tcp and (packet.sequence != live.flow.sequence or live.flags & layout.FLOW_LEFT):
            left = layout.FLOW_LEFT if chosen != live.flow.backend else 0
            live.set(live.state, live.flags & ~layout.FLOW_LEFT | left)
            live.flow.sequence = packet.sequence
        sending.note_backend(packet, live.flow.backend, backend)
        return Reason.TO_BACKEND, live
    if way == _LATE:
        packet.note("record", "a late duplicate of the closed flow's SYN")
        return Reason.CLOSED, live
    why = _admission(packet)
    if why:
        return why, live
    if way == _RESTART:
        packet.note("record", "a new connection in the record of the one before")
        live.set(layout.FLOW_SYN, live.flags & layout.FLOW_HELD)
        live.flow.sequence, live.flow.last_sequence = packet.sequence, packet.now.second
        sending.note_backend(packet, live.flow.backend, backend)
        return Reason.FLOW_CREATED, live
    packet.note("record", "the SYN belongs to the ring: a new flow takes this one's place")
    records.close(live)
    return None, live


def _admission(packet: Packet) -> Reason | None:
    return limits.refused(packet) if packet.word & layout.SERVICE_LIMITED else None


def _way(packet: Packet, record: Record, backend: layout.Backend, chosen: int) -> int:
    """What a packet for a live flow is; a SYN obeys the ring, retransmissions and forgeries excepted."""
    if not backend.flags & layout.BACKEND_KEEP:
        return _NEW
    if not packet.tcp:
        return _FOLLOW
    flow, state = record.flow, record.state
    same, stays = packet.sequence == flow.sequence, chosen == flow.backend
    if state in (layout.FLOW_ESTABLISHED, layout.FLOW_CLOSING):
        return _FOLLOW if stays or not record.flags & layout.FLOW_RESET else _NEW
    if state == layout.FLOW_CLOSED:
        if record.flags & layout.FLOW_RESET:
            return _NEW
        if same:
            return _LATE
        return _RESTART if stays and segments.beyond(packet.sequence, segments.reach(flow)[0]) else _NEW
    if not same:
        return _RESTART if stays else _NEW
    late = records.aged(packet.now.second, flow.last_sequence, RETRANSMISSION_SECONDS)
    return _FOLLOW if stays or state == layout.FLOW_ANSWERED or not late else _NEW


def _create(packet: Packet, chosen: int, hashed: int, earlier: Record | None) -> tuple[Reason, Record | None]:
    """A new flow at the chosen backend, or why there is none."""
    now, backend = packet.now, packet.now.backend(chosen)
    if not chosen or backend is None or not backend.flags & layout.BACKEND_KEEP:
        packet.note("backend", "the ring names nobody who takes new flows", backend_id=chosen or "none")
        return Reason.NO_BACKEND, None
    sending.note_backend(packet, chosen, backend)
    keeps = packet.mode == layout.MODE_KEEP
    if not keeps and not (now.config.snat_v4 if packet.family == 4 else now.config.snat_v6):
        packet.note("port", "no SNAT address of the family is configured")
        return Reason.NO_SNAT_ADDRESS, None
    why = sending.obstacle(packet, backend.ifindex, backend.mtu)
    if why:
        return why, None
    start = claims.seed(packet, hashed, chosen)
    if not keeps and claims.full(packet, chosen, start):
        if not claims.glance(packet, backend, start):
            if not claims.give(packet, backend, start, claims.GLANCE):
                return _portless(packet, "a search for a port towards this backend has just failed, and a look at one finds none")
            earlier = records.of_client(packet)  # it may have been the one
        claims.take_for_full(packet, chosen, start, full=False)
    for _ in range(_MOST_RACES + 1):
        claimed = claims.take_record(packet, hashed)
        flow = now.flow(claimed[0]) if claimed else None
        if claimed is None or flow is None:
            packet.note("claim", "no record is free, and no flow may be taken for one")
            return Reason.FLOW_TABLE_FULL, None
        _fill(packet, claimed[0], chosen, backend)
        source = claims.own(packet, backend) if keeps else claims.search(packet, backend, start)
        if source is None:
            claims.settle(now, hashed, claimed, idle=True)
            if claims.give(packet, backend, start):
                earlier = records.of_client(packet)  # it may have been the one
                continue
            claims.take_for_full(packet, chosen, start, full=True)
            return _portless(packet, f"none of {claims.PORT_TRIES} ports that were tried is free")
        if keeps and claims.held(now, source.becomes):
            if claims.held(now, source.becomes) != (earlier.id if earlier else 0) and not claims.given_up(now, source.becomes):
                packet.note("port", "the client's own address and port have another flow at the backend", becomes=source.becomes)
                claims.settle(now, hashed, claimed, idle=True)
                return Reason.CLIENT_PORT_TAKEN, None
            _take_port(packet, claimed[0], source.becomes)
            claims.inherit(now, source.becomes, claimed[0])
            return _enter(packet, hashed, earlier, claimed, source)
        _take_port(packet, claimed[0], source.becomes)
        if claims.claim(now, source.becomes.reversed().hash(now.slot_secret), claimed[0]):
            return _enter(packet, hashed, earlier, claimed, source)
        claims.settle(now, hashed, claimed, idle=True)
    return Reason.NO_SOURCE_PORT, None


def _portless(packet: Packet, why: str) -> tuple[Reason, None]:
    packet.note("port", why)
    return Reason.NO_SOURCE_PORT, None


def _enter(
    packet: Packet, hashed: int, earlier: Record | None, claimed: tuple[int, int], source: claims.Source
) -> tuple[Reason, Record | None]:  # fmt: skip
    """Makes the client's tuple lead to the new record."""
    now, number = packet.now, claimed[0]
    packet.note("port", f"leaves from {source.becomes.source_port}, by try {source.tries}", becomes=source.becomes)
    flow = now.flow(number)
    assert flow is not None
    record = Record(number, flow, source.becomes)
    version = flow.word >> layout.FLOW_VERSION_SHIFT << layout.FLOW_VERSION_SHIFT
    flow.word = version | claimed[1] << layout.FLOW_PLACE_SHIFT | packet.tuple.protocol
    record.set(layout.FLOW_SYN if packet.tcp else layout.FLOW_UDP, layout.FLOW_HELD)
    if earlier is None or earlier.id == number:
        if not claims.claim(now, hashed, number):
            packet.note("claim", "another tuple has the place in the index")
            claims.give_up(now, source.becomes.reversed().hash(now.slot_secret), number)
            record.set(0, 0)
            claims.settle(now, hashed, claimed, idle=True)
            return Reason.TO_BACKEND, None
    else:
        claims.replace(now, hashed, earlier.id, number)
        earlier.set(earlier.state, earlier.flags | layout.FLOW_DISPLACED)
    claims.settle(now, hashed, claimed)
    return Reason.FLOW_CREATED, record


def _fill(packet: Packet, number: int, chosen: int, backend: layout.Backend) -> None:
    """The new record, all but its word, the SNAT address and its port."""
    now, t = packet.now, packet.tuple
    flow, wide = now.flow(number), now.flow_v6(number)
    assert flow is not None
    v4 = packet.family == 4
    flow.client, flow.vip, flow.backend_address = map(_word, (t.source, t.destination, bytes(backend.address))) if v4 else (0, 0, 0)
    flow.snat = 0
    if wide is not None and not v4:
        wide.client[:], wide.vip[:], wide.backend[:] = t.source, t.destination, bytes(backend.address)
    flow.client_port, flow.vip_port = port(t.source_port), port(t.destination_port)
    flow.backend_port = backend.port or flow.vip_port
    flow.backend, flow.service, flow.sequence = chosen, packet.service, packet.sequence
    flow.seen = flow.last_sequence = now.second
    sending.first_way_back(packet, flow)


def _take_port(packet: Packet, number: int, becomes: Tuple) -> None:
    """Writes the SNAT address and its port into the record."""
    flow, wide = packet.now.flow(number), packet.now.flow_v6(number)
    assert flow is not None
    flow.snat_port = port(becomes.source_port)
    if packet.family == 4:
        flow.snat = _word(becomes.source)
    elif wide is not None:
        wide.snat[:] = becomes.source


def _word(address: bytes) -> int:
    """An IPv4 address as records hold it."""
    return int.from_bytes(address[12:], "little")
