"""How a TCP segment changes the record of its NAT flow (bpf/tcp.h, bpf/reach.h). Its FIN, RST or SYN+ACK counts where its sender is."""

from typing import Final

from l4lb_agent.model import layout
from l4lb_agent.model.explain.packet import ACK, FIN, RST, SYN, Packet
from l4lb_agent.model.explain.records import Record, close, keep

NEAR: Final = 4 << 20
NEAR_STEP: Final = 1 << 20
REACH_SHIFT: Final = 16
_REACH = 0xFFFF
_WORD = 0xFFFFFFFF
_HEARD_WINDOW: Final = 0x10000
_FINS = layout.FLOW_CLIENT_FIN | layout.FLOW_BACKEND_FIN
_TCP_FLAGS = _FINS | layout.FLOW_BACKEND_FIN_FIRST | layout.FLOW_RESET
_CLIENT, _BACKEND = 0, 1


def apart(one: int, other: int) -> int:
    """How far two sequence numbers are apart."""
    difference = one - other & _WORD
    return min(difference, (1 << 32) - difference)


def newer(sequence: int, than: int) -> bool:
    """Of two sequence numbers."""
    return 0 < (sequence - than & _WORD) < 1 << 31


def reach(flow: layout.Flow) -> tuple[int, int]:
    """How far client and backend have come, in units of 64 KiB; of a flow whose handshake is over."""
    return flow.last_sequence & _REACH, flow.last_sequence >> REACH_SHIFT


def beyond(sequence: int, reached: int) -> bool:
    """Whether a number is newer than how far a side has come."""
    return newer(sequence & ~_REACH, reached << REACH_SHIFT)


def by_client(packet: Packet, record: Record) -> bool:
    """A client's segment that follows the record. False when the record has become another flow's."""
    counting, numbered = _counting(packet, near=_client_near(packet, record)), _numbered(record)
    if packet.flags & SYN or packet.flags & RST and not counting & RST:
        return True
    state, flags = record.state, record.flags
    if packet.flags & RST:
        state, flags = (state, flags) if state == layout.FLOW_CLOSED else (layout.FLOW_CLOSED, flags | layout.FLOW_RESET)
    elif _believed(packet, record):
        flags = flags & ~layout.FLOW_RESET | (layout.FLOW_CLIENT_FIN if counting & FIN else 0)
        state = _by_fins(flags)
    if _earns_record(state, flags):
        if not keep(packet, record, packet.tuple):
            return False
        flags &= ~layout.FLOW_HELD
    record.set(state, flags)
    _note_reach(packet, record, _CLIENT, first=not numbered)
    return True


def by_backend(packet: Packet, record: Record) -> bool:
    """A backend's segment that follows the record. False when the client's tuple belongs to another flow, or no handshake may succeed."""
    if record.flags & layout.FLOW_DISPLACED:
        return False
    near = _answers_syn(packet, record) if packet.flags & SYN else _backend_near(packet, record)
    flags, numbered = _counting(packet, near=near), _numbered(record)
    if packet.flags & SYN and record.flags & layout.FLOW_LEFT:
        record.set(record.state, record.flags | (layout.FLOW_RESET if near else 0))
        return False
    over = record.state == layout.FLOW_CLOSED and not record.flags & layout.FLOW_RESET
    if packet.flags & (RST | SYN) and (over or not near):
        return True
    if packet.flags & SYN and not numbered:
        record.flow.last_sequence = packet.sequence
    if packet.flags & RST:
        close(record)
    else:
        _answer(packet, record, flags)
    _note_reach(packet, record, _BACKEND, first=not numbered or bool(packet.flags & SYN))
    return True


def _answer(packet: Packet, record: Record, counting: int) -> None:
    """State and flags that a backend's segment without RST leaves."""
    flags = record.flags & ~layout.FLOW_RESET | layout.FLOW_HEARD
    if counting & SYN:
        flags &= ~_TCP_FLAGS
    elif counting & FIN and not flags & layout.FLOW_BACKEND_FIN:
        flags |= layout.FLOW_BACKEND_FIN | (0 if flags & layout.FLOW_CLIENT_FIN else layout.FLOW_BACKEND_FIN_FIRST)
    opens = not _numbered(record) if counting & SYN else _beginning(record) and not _converses(packet, record)
    record.set(layout.FLOW_ANSWERED if opens else _by_fins(flags), flags)


def _beginning(record: Record) -> bool:
    """Whether the handshake is not over, as far as both sides have shown; a RST does not end it."""
    held = record.state == layout.FLOW_CLOSED and record.flags & layout.FLOW_HELD
    return record.state in (layout.FLOW_SYN, layout.FLOW_ANSWERED) or bool(held)


def _believed(packet: Packet, record: Record) -> bool:
    """Whether more than a RST of the client's counts: during the handshake what acknowledges the backend's SYN+ACK."""
    hears = packet.flags & ACK and (packet.acknowledgement - record.flow.last_sequence & _WORD) < _HEARD_WINDOW
    return not _beginning(record) or bool(hears and record.flags & layout.FLOW_HEARD)


def _converses(packet: Packet, record: Record) -> bool:
    """Whether the backend sends data, or has got some."""
    first = record.flow.sequence + 1 & _WORD
    return packet.segment > 0 or bool(record.flags & layout.FLOW_HEARD and newer(packet.acknowledgement, first))


def _by_fins(flags: int) -> int:
    if flags & _FINS == _FINS:
        return layout.FLOW_CLOSED
    return layout.FLOW_CLOSING if flags & _FINS else layout.FLOW_ESTABLISHED


def _earns_record(state: int, flags: int) -> bool:
    """Whether the client has acknowledged the backend's answer, and the record is still one of those of unanswered flows."""
    heard = flags & layout.FLOW_HELD and flags & layout.FLOW_HEARD and not flags & layout.FLOW_RESET
    return bool(heard) and layout.FLOW_ESTABLISHED <= state <= layout.FLOW_CLOSED


# --- where both sides are


def _numbered(record: Record) -> bool:
    """Whether the record knows how far both sides have come."""
    lasting = record.state in (layout.FLOW_ESTABLISHED, layout.FLOW_CLOSING)
    closed = record.state == layout.FLOW_CLOSED and not record.flags & layout.FLOW_RESET
    return not record.flags & layout.FLOW_HELD and (lasting or closed)


def _note_reach(packet: Packet, record: Record, side: int, *, first: bool) -> None:
    """What a segment shows of its sender, and the first one of the other side too."""
    if not _numbered(record):
        return
    reached, end = list(reach(record.flow)), (packet.sequence + packet.segment & _WORD) >> REACH_SHIFT
    ahead = end - reached[side] & _REACH
    if first:
        reached[side], reached[1 - side] = end, packet.acknowledgement >> REACH_SHIFT
    elif 0 < ahead <= NEAR >> REACH_SHIFT:
        reached[side] = reached[side] + min(ahead, NEAR_STEP >> REACH_SHIFT) & _REACH
    record.flow.last_sequence = reached[_BACKEND] << REACH_SHIFT | reached[_CLIENT]


def _counting(packet: Packet, *, near: bool) -> int:
    """The flags of a segment that count."""
    if near or not packet.flags & (SYN | RST | FIN):
        return packet.flags
    packet.note("record", "its sequence numbers are not near those of the flow: the packet is sent on, and ends nothing")
    return packet.flags & ~(SYN | RST | FIN)


def _within(sequence: int, reached: int) -> bool:
    return apart(sequence & ~_REACH, reached << REACH_SHIFT) <= NEAR


def _was_reset(record: Record) -> bool:
    """Whether a RST has closed the flow, if this segment counts at all: of numbers nothing is known."""
    return record.state == layout.FLOW_CLOSED and not record.flags & layout.FLOW_HELD


def _client_near(packet: Packet, record: Record) -> bool:
    """Whether a FIN or RST is where the client's segments are."""
    if packet.flags & SYN:
        return True
    if _numbered(record):
        return _within(packet.sequence, reach(record.flow)[_CLIENT])
    return _was_reset(record) or apart(packet.sequence, record.flow.sequence) < NEAR


def _answers_syn(packet: Packet, record: Record) -> bool:
    """Whether a segment acknowledges the client's SYN, or what came right after it."""
    return bool(packet.flags & ACK) and apart(packet.acknowledgement, record.flow.sequence) < NEAR


def _backend_near(packet: Packet, record: Record) -> bool:
    """Whether a FIN or RST is where the backend's segments are; a port that nobody listens at answers from sequence 0."""
    if _numbered(record):
        return _within(packet.sequence, reach(record.flow)[_BACKEND])
    heard = record.flags & layout.FLOW_HEARD and apart(packet.sequence, record.flow.last_sequence) < NEAR
    return _was_reset(record) or _answers_syn(packet, record) or bool(heard)
