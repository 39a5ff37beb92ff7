"""NAT's records: how a packet finds the one of its flow, and when a flow is over (bpf/flow.h). How TCP changes it is in segments.py."""

from dataclasses import dataclass
from typing import Final

from l4lb_agent.model import layout
from l4lb_agent.model.explain.moment import Moment, mapped, port
from l4lb_agent.model.explain.packet import Packet, Tuple
from l4lb_agent.model.flows.layout import FLOW_PENDING, SLOT_ID_SHIFT, SLOT_VERSION_SHIFT

STATES: Final = ("NONE", "SYN", "ANSWERED", "ESTABLISHED", "CLOSING", "CLOSED", "UDP", "UDP_ANSWERED")
_FLAGS: Final = {
    layout.FLOW_CLIENT_FIN: "client's FIN", layout.FLOW_BACKEND_FIN: "backend's FIN",
    layout.FLOW_BACKEND_FIN_FIRST: "backend's FIN first", layout.FLOW_RESET: "reset", layout.FLOW_LEFT: "left by the ring",
    layout.FLOW_DISPLACED: "displaced", layout.FLOW_HEARD: "backend has answered", layout.FLOW_HELD: "unanswered",
}  # fmt: skip
_ID = 0x7FFFFFFF
SLOT_STAMP: Final = 0xFFFFFF
_SLOT_MASK, _SLOT_VERSION = 15, 0xFFF


@dataclass
class Record:
    """A flow's record, and what a packet of its direction becomes."""

    id: int
    flow: layout.Flow
    becomes: Tuple

    @property
    def state(self) -> int:
        """FLOW_*, by time too: 0 of a record that is no flow's."""
        return int(self.flow.word >> layout.FLOW_STATE_SHIFT & 15)

    @property
    def flags(self) -> int:
        """FLOW_* flags."""
        return int(self.flow.word >> layout.FLOW_FLAGS_SHIFT & 255)

    def set(self, state: int, flags: int) -> None:
        """Another state and other flags."""
        kept = self.flow.word & ~(15 << layout.FLOW_STATE_SHIFT | 255 << layout.FLOW_FLAGS_SHIFT)
        self.flow.word = kept | state << layout.FLOW_STATE_SHIFT | flags << layout.FLOW_FLAGS_SHIFT


def tagged(now: Moment, hashed: int) -> int:
    """The id that the index has for a tuple's hash, 0 when none."""
    for bucket in now.index_buckets(hashed):
        found = 0
        for entry in bucket.entry:
            found |= entry & 0xFFFFFFFF if entry >> 32 == hashed >> 32 else 0
        if found:
            return found & ~FLOW_PENDING & _ID
    return 0


def of_client(packet: Packet) -> Record | None:
    """The record of a client's packet, over or not."""
    return _record(packet, from_client=True)


def of_backend(packet: Packet) -> Record | None:
    """The record of a backend's packet, over or not."""
    return _record(packet, from_client=False)


def live(packet: Packet, record: Record | None, whose: str) -> Record | None:
    """The record while its flow is not over. Notes what there is."""
    if record is None:
        packet.note("record", f"no record of a NAT flow has this tuple ({whose})")
        return None
    over = expired(packet.now, record)
    packet.note(
        "record", f"record {record.id} of a NAT flow in state {STATES[record.state]}" + (", which is over" if over else ""),
        **about(packet.now, record),
    )  # fmt: skip
    return None if over else record


def about(now: Moment, record: Record) -> dict[str, object]:
    """What is known of a flow."""
    flow = record.flow
    return {
        "record": record.id, "state": STATES[record.state], "silent_for": f"{now.second - flow.seen} s",
        "lives_without_packets": f"{timeout(now, record)} s", "flags": flags_in_words(record),
        "backend_id": flow.backend, "becomes": record.becomes,
    }  # fmt: skip


def flags_in_words(record: Record) -> str:
    """Those that are set."""
    return ", ".join(text for flag, text in _FLAGS.items() if record.flags & flag)


def timeout(now: Moment, record: Record) -> int:
    """Seconds without packets after which a flow is over."""
    state, config = record.state, now.config
    if state == layout.FLOW_CLOSED:
        return int(config.quarantine_long if record.flags & layout.FLOW_BACKEND_FIN_FIRST else config.quarantine_short)
    if state not in (layout.FLOW_ESTABLISHED, layout.FLOW_UDP_ANSWERED):
        return int(config.timeout[state]) if state < len(config.timeout) else 0
    service = now.service(record.flow.service)
    return service.idle_seconds if service else 0


def aged(now: int, seen: int, seconds: int) -> bool:
    """Whether more than so many seconds have passed; another CPU may have stamped a later second."""
    age = now - seen & 0xFFFFFFFF
    return (age - (1 << 32) if age >> 31 else age) > seconds


def expired(now: Moment, record: Record) -> bool:
    """Whether the flow is over."""
    return aged(now.second, record.flow.seen, timeout(now, record))


def touch(packet: Packet, record: Record) -> None:
    """The packet keeps its flow alive."""
    record.flow.seen = packet.now.second


def close(record: Record) -> None:
    """A flow ends as by a RST: the port stays taken for the short quarantine."""
    if record.state != layout.FLOW_CLOSED:
        record.set(layout.FLOW_CLOSED, record.flags | layout.FLOW_RESET)


def slot_word(number: int, before: int, stamp: int) -> int:
    """A slot's next word, of another version."""
    version = (before >> SLOT_VERSION_SHIFT) + 1 & _SLOT_VERSION
    return number << SLOT_ID_SHIFT | version << SLOT_VERSION_SHIFT | stamp & SLOT_STAMP


def client_tuple(now: Moment, number: int, flow: layout.Flow) -> Tuple:
    """What the client of a flow sends."""
    source, vip = _pair(now, number, flow, ("client", "vip"))
    return Tuple(source, vip, port(flow.client_port), port(flow.vip_port), flow.word & 255)


def backend_tuple(now: Moment, number: int, flow: layout.Flow) -> Tuple:
    """What the backend of a flow sends."""
    v6 = ("backend", "snat")
    source, snat = _pair(now, number, flow, ("backend_address", "snat"), v6)
    return Tuple(source, snat, port(flow.backend_port), port(flow.snat_port), flow.word & 255)


def _pair(now: Moment, number: int, flow: layout.Flow, names: tuple[str, str], v6_names: tuple[str, str] | None = None) -> list[bytes]:
    wide = now.flow_v6(number)
    if flow.client or wide is None:
        return [mapped(getattr(flow, name)) for name in names]
    return [bytes(getattr(wide, name)) for name in v6_names or names]


def _record(packet: Packet, *, from_client: bool) -> Record | None:
    now, t = packet.now, packet.tuple
    number = tagged(now, t.hash(now.slot_secret))
    flow = now.flow(number) if number else None
    if flow is None or not flow.word >> layout.FLOW_STATE_SHIFT & 15 or flow.word & 255 != t.protocol:
        return None
    if bool(flow.client) != (packet.family == 4):
        return None
    clients, backends = client_tuple(now, number, flow), backend_tuple(now, number, flow)
    own, other = (clients, backends) if from_client else (backends, clients)
    return Record(number, flow, other.reversed()) if own == t else None


def answered(packet: Packet, record: Record) -> bool:
    """A backend's UDP packet that follows the record; see segments.by_backend()."""
    if record.flags & layout.FLOW_DISPLACED:
        return False
    if record.state == layout.FLOW_UDP_ANSWERED:
        return True
    if record.flags & layout.FLOW_HELD and not keep(packet, record, record.becomes.reversed()):
        return False
    record.set(layout.FLOW_UDP_ANSWERED, record.flags & ~layout.FLOW_HELD | layout.FLOW_HEARD)
    return True


def keep(packet: Packet, record: Record, clients: Tuple) -> bool:
    """Takes the flow out of the slots of unanswered ones; False when another flow has the slot."""
    unanswered = packet.now.unanswered(clients.hash(packet.now.slot_secret))
    if unanswered is None:
        return False
    place = record.flow.word >> layout.FLOW_PLACE_SHIFT & _SLOT_MASK
    slot = unanswered.slot[place]
    if slot >> SLOT_ID_SHIFT != record.id:
        return False
    unanswered.slot[place] = slot_word(0, slot, 0)
    return True
