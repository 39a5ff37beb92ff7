"""What a packet changes: records of NAT's flows, entries of the flow table, clients' affinities, datagrams; told from what its road has
written into the moment's copies."""

from l4lb_agent.model import layout
from l4lb_agent.model.choice.layout import AffinityBucket
from l4lb_agent.model.explain import records, tracked
from l4lb_agent.model.explain.packet import Packet, Tuple
from l4lb_agent.model.explain.records import Record

_UNTIL_SHIFT, _UNTIL = 15, 0xFFFFFF


def note(packet: Packet) -> None:
    """One step for each element that people know of."""
    for name, index, before, element in list(packet.now.changed()):
        if isinstance(element, layout.Flow):
            _record(packet, index, layout.Flow.from_buffer_copy(before), element)
        elif isinstance(element, layout.FlowBucket):
            _entries(packet, layout.FlowBucket.from_buffer_copy(before), element)
        elif isinstance(element, AffinityBucket):
            _affinity(packet, AffinityBucket.from_buffer_copy(before), element)
        elif name == "fragments":
            packet.note("change", "later fragments of this datagram follow it for five seconds")


def _record(packet: Packet, number: int, before: layout.Flow, after: layout.Flow) -> None:
    old, new = Record(number, before, Tuple()), Record(number, after, Tuple())
    states = records.STATES[old.state], records.STATES[new.state]
    facts: dict[str, object] = {"record": number, "backend_id": after.backend if new.state else "", "flags": records.flags_in_words(new)}
    if new.state:
        facts["lives_without_packets"] = f"{records.timeout(packet.now, new)} s"
    if before.word >> layout.FLOW_VERSION_SHIFT != after.word >> layout.FLOW_VERSION_SHIFT:
        ends = f"ends its flow, which was {states[0]}" if old.state else "is free"
        begins = f"begins one in state {states[1]}" if new.state else "begins none: it is the first to go to another flow"
        packet.note("change", f"record {number} {ends}, and {begins}", **facts)
        return
    text = f"goes from {states[0]} to {states[1]}" if old.state != new.state else f"stays {states[1]}"
    silent = [f"{packet.now.second - flow.seen} s" for flow in (before, after)]
    packet.note("change", f"record {number} {text}", **facts, flags_before=records.flags_in_words(old), silent_for=" -> ".join(silent))


def _entries(packet: Packet, before: layout.FlowBucket, after: layout.FlowBucket) -> None:
    for old, new in zip(before.entry, after.entry):
        if bytes(old) == bytes(new):
            continue
        state = tracked.STATES[new.state]
        if old.word != new.word:
            packet.note(
                "change", f"an entry is written, in state {state}", backend_id=new.word & 0xFFFF, expects=new.sequence, rank=new.rank
            )
            continue
        text = f"goes from {tracked.STATES[old.state]} to {state}" if old.state != new.state else f"stays {state}"
        expects = f"{old.sequence} -> {new.sequence}"
        packet.note("change", f"its entry {text}", backend_id=new.word & 0xFFFF, expects=expects, rank=new.rank)


def _affinity(packet: Packet, before: AffinityBucket, after: AffinityBucket) -> None:
    for old, new in zip(before.entry, after.entry):
        if old != new:
            left = (new >> _UNTIL_SHIFT) - packet.now.second & _UNTIL
            packet.note("change", "where the client's next new flows go", backend_id=new & layout.SLOT_BACKEND, seconds_left=left)
