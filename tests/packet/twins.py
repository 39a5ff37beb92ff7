"""What the tests of the twin share: a balancer whose every packet is first asked of its twin, which must foretell it and leave no trace."""

from collections.abc import Iterator
from dataclasses import replace

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.maps import cpus
from l4lb_agent.dataplane.program import Objects
from l4lb_agent.dataplane.ringbuf import RingBuffer
from l4lb_agent.dataplane.ticks import Ticks
from l4lb_agent.dataplane.twin import Twin
from l4lb_agent.model.mapspec import CAPTURED_BYTES, MapSpec, MapType
from l4lb_agent.model.observed import Answer
from tests.packet.balancer import LOOPBACK, Balancer, Result


class Asked:
    """A balancer and its twin."""

    def __init__(self, lb: Balancer, objects: Objects) -> None:
        self.lb = lb
        self.twin = Twin(objects, lb.specs, {name: fd.fileno() for name, fd in lb.maps.items()})
        self.answers: list[Answer] = []  # in the order of the packets
        self._ticks = Ticks()
        self._ring = RingBuffer(lb.maps["captured"].fileno(), CAPTURED_BYTES)

    def close(self) -> None:
        """Give the twin's part back."""
        self.twin.close()
        self._ticks.close()
        self._ring.close()

    def send(self, packet: object, ifindex: int = LOOPBACK) -> Result:
        """Ask twice, compare all maps with what they were, then send. The answers must be what becomes of the packet. What is drawn from
        the second is asked again when that has passed meanwhile."""
        raw = bytes(packet)  # type: ignore[call-overload]
        while True:
            second = self._ticks.second()
            answer = self._foretold(raw, ifindex)
            if not answer.drawn or self._ticks.second() == second:
                break
        result = self.lb.send(raw, ifindex)
        assert (answer.reason, answer.verdict, answer.frame) == (result.reason, result.verdict, result.data)
        self.answers.append(answer)
        return result

    def _foretold(self, raw: bytes, ifindex: int) -> Answer:
        before = dict(self.dump())
        answers = [self.twin.ask(ifindex, raw) for _ in range(2)]
        changed = [name for name, content in self.dump() if content != before[name]]
        assert changed == [], f"asking has changed {changed}"
        assert list(self._ring.records(1)) == [], "asking has handed a packet to captures"
        first, second = (replace(each, steady=True) for each in answers)
        assert first == second or (first.drawn and second.drawn)
        return answers[1]

    def dump(self) -> Iterator[tuple[str, object]]:
        """Every byte of every map, by name; of the ring buffer send() reads what it holds."""
        for name, spec in self.lb.specs.items():
            if spec.type is MapType.LPM_TRIE:
                yield name, self.lb.keyed(name)
            elif spec.type is not MapType.RINGBUF:
                yield name, self._array(name, spec)

    def _array(self, name: str, spec: MapSpec) -> bytes:
        size = (spec.value_size + 7) // 8 * 8 * cpus() if spec.type is MapType.PERCPU_ARRAY else spec.value_size
        keys, values = bytearray(4 * spec.max_entries), bytearray(size * spec.max_entries)
        syscall.map_lookup_batch(self.lb.maps[name].fileno(), bytearray(8), True, keys, values, spec.max_entries)
        return bytes(values)
