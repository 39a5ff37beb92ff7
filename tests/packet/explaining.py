"""Asks of one frame what is explained of it, what the twin says, and what the program does: they must be the same."""

import ctypes
import functools
import time
from collections.abc import Callable
from typing import Any, Final

from scapy.layers.l2 import Ether

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fib import Routes
from l4lb_agent.dataplane.program import Objects
from l4lb_agent.dataplane.ticks import Ticks
from l4lb_agent.dataplane.twin import Twin
from l4lb_agent.model import layout
from l4lb_agent.model.choice.layout import AffinityBucket
from l4lb_agent.model.explain import packet as p
from l4lb_agent.model.explain.claims import Mark
from l4lb_agent.model.explain.compare import differences
from l4lb_agent.model.explain.moment import Moment
from l4lb_agent.model.explain.road import Explanation, explain
from l4lb_agent.model.flows.layout import Pool, Unanswered
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import LOOPBACK, Balancer

# whatever a packet may change, but for counts
TABLES: Final[dict[str, type[ctypes.Structure]]] = {
    "flows": layout.Flow, "flows_v6": layout.FlowV6, "flow_index": layout.Bucket, "unanswered": Unanswered, "pool": Pool,
    "flow_table": layout.FlowBucket, "affinity": AffinityBucket, "fragments": layout.FragmentBucket, "port_full": Mark,
    "service_limits": layout.LimitLine, "source_limits": layout.LimitLine,
}  # fmt: skip
LONG: Final = {"port_full", "source_limits"}  # never compared as a whole
TICK, ABOUT = 1 << 20, 1000  # jiffies
LIMIT_TAG: Final = 0xFFFF  # of a word of source_limits: whose it is
WHOLE: Final = 16  # of how many packets one is compared by whole tables, the others by what was looked at
FORWARDED = {Reason.FLOW_CREATED, Reason.TO_BACKEND, Reason.TO_CLIENT, Reason.ICMP_TO_BACKEND, Reason.ICMP_TO_CLIENT}


class Explainer:
    """Explains from the maps of a balancer whose clock counts jiffies, beside the twin of its program. `lb` may become another one in the
    same maps."""

    def __init__(self, lb: Balancer, objects: Objects) -> None:
        self.lb, self._ticks, self._routes = lb, Ticks(), Routes()
        self.looked: set[tuple[str, int]] = set()  # at elements of arrays by the last explanation
        self.twin = Twin(objects, lb.specs, {name: fd.fileno() for name, fd in lb.maps.items()})

    def explain(self, frame: bytes, ifindex: int = LOOPBACK) -> Explanation:
        """What becomes of a frame."""
        self.looked.clear()
        return explain(frame, ifindex, self.now())

    def again(self, frame: bytes) -> Callable[[], Explanation]:
        """The same as often as it is called, of one state and instant."""
        at, lookup = self.now().fine, functools.cache(self._lookup)
        return lambda: explain(frame, LOOPBACK, Moment(lookup, at, self._routes.ask))

    def now(self) -> Moment:
        """The state and the instant."""
        jiffies = self._ticks.fine() // self._ticks.multiplier
        return Moment(self._lookup, jiffies * self.lb.config.second_multiplier, self._routes.ask)

    def steady(self) -> None:
        """Waits while a tick of the datapath's almost standing clock is about to end: what is explained must be done in the same one. Linux
        lets one end, and a second, five minutes after it has booted."""
        while self.lb.config.second_multiplier == 1 and -self.now().fine % TICK < ABOUT:
            time.sleep(0.05)

    def _lookup(self, name: str, key: bytes) -> bytes | None:
        if name in TABLES:
            self.looked.add((name, int.from_bytes(key, "little")))
        return syscall.map_lookup(self.lb.maps[name].fileno(), key, self.lb.specs[name].value_size)

    def close(self) -> None:
        """Give everything back to the kernel."""
        self._ticks.close()
        self._routes.close()
        self.twin.close()


def told(explanation: Explanation) -> str:
    return "\n".join(f"{step.name}: {step.finding} {dict(step.evidence)}" for step in explanation.steps)


def shown(frame: bytes) -> str:
    return f"{Ether(frame[:200]).show(dump=True)}{frame[:200].hex()}, {len(frame)} bytes"


def counted(lb: Balancer) -> dict[int, tuple[int, int]]:
    """Packets in and out of each backend."""
    arrived, left = dict(lb.sums("backend_in", 3)), dict(lb.sums("backend_out", 2))
    return {number: (arrived.get(number, [0])[0], left.get(number, [0])[0]) for number in arrived.keys() | left.keys()}


class Tables:
    """What is in the tables once a packet has changed what is explained of it, and nothing else: all of them, or the elements that were
    looked at."""

    def __init__(self, lb: Balancer, meant: Explanation, looked: set[tuple[str, int]], *, whole: bool) -> None:
        self._lb, self._looked, self._whole = lb, looked, whole
        self._meant = self._now()
        for name, number, element in meant.changed:
            if (name, number) in self._meant:
                self._meant[name, number] = element

    def otherwise(self) -> str:
        """What is otherwise by now, "" when nothing is."""
        for (name, number), raw in self._now().items():
            if raw != self._meant[name, number]:
                meant, became = (told_of(TABLES[name].from_buffer_copy(each)) for each in (self._meant[name, number], raw))
                if meant != became and not (TABLES[name] is layout.LimitLine and near(self._meant[name, number], raw)):
                    return f"{name}[{number}]\nexplained {meant}\nbecame    {became}"
        return ""

    def _now(self) -> dict[tuple[str, int], bytes]:
        wholly = TABLES.keys() - LONG if self._whole else ()
        found = {(name, number): raw for name in wholly for number, raw in enumerate(self._lb.every(name))}
        return found | {(name, number): self._lb.read(name, number) for name, number in self._looked if name not in wholly}


def near(meant: bytes, became: bytes) -> bool:
    """Whether words of budgets are the same but for the instant at which the packet came, from which a full one counts."""
    for one, other in zip(*(layout.LimitLine.from_buffer_copy(raw).word for raw in (meant, became)), strict=True):
        if (one ^ other) & LIMIT_TAG or (other - one) % (1 << 64) > ABOUT << 16:
            return False
    return True


def told_of(element: ctypes.Structure) -> object:
    """Its fields, for people. A sequence number is of TCP only: what else a record has there the packet before may have left."""
    if isinstance(element, layout.Flow) and (element.word & 255 != p.PROTOCOL_TCP or not element.word >> layout.FLOW_STATE_SHIFT & 15):
        element.sequence = 0
    return fields(element)


def fields(of: Any) -> Any:
    """A structure's, for people."""
    if isinstance(of, ctypes.Structure):
        return {name: fields(getattr(of, name)) for name, *_ in of._fields_}
    return [fields(one) for one in of] if isinstance(of, ctypes.Array) else f"{of:#x}"


def compare(lb: Balancer, explainer: Explainer, frame: bytes) -> Explanation:
    """Asks both, and the twin of every fourth packet."""
    explainer.steady()
    meant, before = explainer.explain(frame), counted(lb)
    tables = Tables(lb, meant, explainer.looked, whole=lb.packets % WHOLE == 0)
    answer = explainer.twin.ask(LOOPBACK, frame) if lb.packets % 4 == 0 else None
    done = lb.send(frame)
    assert (meant.verdict, meant.reason) == (done.verdict, done.reason), (
        f"explained {meant.reason.name}, was {done.reason.name}\n{told(meant)}\n{shown(frame)}"
    )
    assert answer is None or differences(meant, answer) == (), f"{told(meant)}\n{shown(frame)}"
    if done.verdict != Verdict.DROP:
        assert meant.frame == done.data, f"{told(meant)}\n{shown(frame)}\nexplained\n{shown(meant.frame)}\nwas\n{shown(done.data)}"
    if done.reason in FORWARDED:
        moved = [number for number, counts in counted(lb).items() if counts != before.get(number, (0, 0))]
        assert moved == [meant.backend], f"{told(meant)}\n{shown(frame)}"
    differs = tables.otherwise()
    assert not differs, f"{differs}\n{told(meant)}\n{shown(frame)}"
    return meant
