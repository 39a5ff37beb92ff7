"""Asks of one frame what is explained of it, what the twin says, and what the program does: they must be the same."""

import functools
from collections.abc import Callable

from scapy.layers.l2 import Ether

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fib import Routes
from l4lb_agent.dataplane.program import Objects
from l4lb_agent.dataplane.ticks import Ticks
from l4lb_agent.dataplane.twin import Twin
from l4lb_agent.model.explain.compare import differences
from l4lb_agent.model.explain.moment import Moment
from l4lb_agent.model.explain.road import Explanation, explain
from l4lb_agent.model.reasons import Reason, Verdict
from tests.packet.balancer import LOOPBACK, Balancer

FORWARDED = {Reason.FLOW_CREATED, Reason.TO_BACKEND, Reason.TO_CLIENT, Reason.ICMP_TO_BACKEND, Reason.ICMP_TO_CLIENT}


class Explainer:
    """Explains from the maps of a balancer whose clock counts jiffies, beside the twin of its program. `lb` may become another one in the
    same maps."""

    def __init__(self, lb: Balancer, objects: Objects) -> None:
        self.lb, self._ticks, self._routes = lb, Ticks(), Routes()
        self.twin = Twin(objects, lb.specs, {name: fd.fileno() for name, fd in lb.maps.items()})

    def explain(self, frame: bytes, ifindex: int = LOOPBACK) -> Explanation:
        """What becomes of a frame."""
        return explain(frame, ifindex, self.now())

    def again(self, frame: bytes) -> Callable[[], Explanation]:
        """The same as often as it is called, of one state and instant."""
        at, lookup = self.now().fine, functools.cache(self._lookup)
        return lambda: explain(frame, LOOPBACK, Moment(lookup, at, self._routes.ask))

    def now(self) -> Moment:
        """The state and the instant."""
        jiffies = self._ticks.fine() // self._ticks.multiplier
        return Moment(self._lookup, jiffies * self.lb.config.second_multiplier, self._routes.ask)

    def _lookup(self, name: str, key: bytes) -> bytes | None:
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


def compare(lb: Balancer, explainer: Explainer, frame: bytes) -> Explanation:
    """Asks both, and the twin of every fourth packet."""
    meant, before = explainer.explain(frame), counted(lb)
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
    return meant
