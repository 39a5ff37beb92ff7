"""Mistakes that somebody could make in the model, one for each of its decisions: a wrong border, a condition left out. A test of the model
that leads packets past each of them must see that what the mistaken model explains is something else."""

import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Final

from l4lb_agent.model.explain.road import Explanation

# module, what is there, what stands there instead
MISTAKES: Final = (
    ("new_flows", "RETRANSMISSION_SECONDS: Final = 3", "RETRANSMISSION_SECONDS: Final = 4"),
    ("new_flows", "RETRANSMISSION_SECONDS: Final = 3", "RETRANSMISSION_SECONDS: Final = 2"),
    ("new_flows", "stays or state == layout.FLOW_ANSWERED or not late", "stays or not late"),
    ("new_flows", "if stays and segments.beyond(packet.sequence, segments.reach(flow)[0]) else", "if stays else"),
    ("choice", "(own[-1] >> _UNTIL_SHIFT) - packet.now.second &", "(own[-1] >> _UNTIL_SHIFT) - packet.now.second + 1 &"),
    ("choice", "(own[-1] >> _UNTIL_SHIFT) - packet.now.second &", "(own[-1] >> _UNTIL_SHIFT) - packet.now.second - 1 &"),
    ("choice", " or backend.service != packet.service:", ":"),
    ("choice", "return number if number and backend and backend.flags & layout.BACKEND_KEEP else now", "return number if number else now"),
    ("records", ") > seconds", ") >= seconds"),
    ("records", "if record.flags & layout.FLOW_BACKEND_FIN_FIRST else", "if record.flags & layout.FLOW_BACKEND_FIN else"),
    ("flows.segments", "0 < (sequence - than", "0 <= (sequence - than"),
    ("flows.segments", "        return False\n    over =", "    over ="),
    ("tracked", "if way.distance < NEAR", "if way.distance <= NEAR"),
    ("tracked", "_age(packet, e) <= _timeout(packet, e.state, idle)", "_age(packet, e) < _timeout(packet, e.state, idle)"),
    ("tracked", "and bool(backend and backend.flags & layout.BACKEND_ELIGIBLE)", "and bool(backend)"),
    ("tracked", "return Tracked(before if spare else to)", "return Tracked(to)"),
    ("tracked", "ends = not keeps and way.entry.state != layout.TRACKED_RST", "ends = not keeps"),
    ("limits", "of_service + policy.service_interval > policy.", "of_service + policy.service_interval >= policy."),
    ("limits", "used + policy.source_interval > policy.source_tolerance", "used + policy.source_interval >= policy.source_tolerance"),
    ("fragments", "return _age(packet, entry) > ticks", "return _age(packet, entry) >= ticks"),
    ("fragments", "if packet.piece.offset < entry.first", "if packet.piece.offset <= entry.first"),
    ("sending", "packet.length <= mtu", "packet.length < mtu"),
    ("sending", "if packet.ttl <= 1", "if packet.ttl <= 2"),
    ("claims", "<= own <= config.port_high", "<= own < config.port_high"),
    ("services", "denied >= allowed", "denied > allowed"),
    ("services", "<= t.destination_port <= service.port_end", "<= t.destination_port < service.port_end"),
    ("direct", "packet.word & layout.SERVICE_LIMITED and packet.syn else", "packet.word & layout.SERVICE_LIMITED else"),
    ("rewriting", "most = mtu - headers if", "most = mtu - headers - 1 if"),
    ("answers", "packet.part is Part.LATER or", ""),
    ("answers", "mtu = max(packet.way_mtu, LEAST_TOLD[packet.family])", "mtu = packet.way_mtu"),
    ("icmp", ">= LEAST_MTU[6]", "> LEAST_MTU[6]"),
    ("icmp", "not low or low >= LEAST_MTU[4]", "not low or low > LEAST_MTU[4]"),
    ("icmp", " or displaced:", ":"),
    ("odd", "piece.offset + piece.size <= LONGEST_DATAGRAM", "piece.offset + piece.size < LONGEST_DATAGRAM"),
    ("odd", "MOST_OPTIONS: Final = 24", "MOST_OPTIONS: Final = 25"),
    ("road", "if record is None or record.flow.backend != number:", "if record is None:"),
    ("reading", "if not packet.u16(at + 6) and packet.family == 6:", "if not packet.u16(at + 6):"),
    # what it leaves in the tables
    ("records", "    record.flow.seen = packet.now.second\n", "    pass\n"),
    ("flows.segments", "        flags &= ~layout.FLOW_HELD\n", ""),
    ("records", "record.set(layout.FLOW_CLOSED, record.flags | layout.FLOW_RESET)", "record.set(layout.FLOW_CLOSED, record.flags)"),
    ("flows.segments", "layout.FLOW_RESET if near else 0", "0"),
    ("flows.segments", "        record.flow.last_sequence = packet.sequence\n", "        pass\n"),
    ("flows.segments", "        flags &= ~_TCP_FLAGS\n", "        pass\n"),
    ("flows.segments", "    return packet.segment > 0 or bool(", "    return bool("),
    ("flows.segments", "    if first:\n        reached", "    if not first:\n        reached"),
    ("records", "(before >> SLOT_VERSION_SHIFT) + 1 &", "(before >> SLOT_VERSION_SHIFT) &"),
    ("new_flows", "left = layout.FLOW_LEFT if chosen != live.flow.backend else 0", "left = layout.FLOW_LEFT"),
    ("new_flows", "if packet.tcp and (packet.sequence != live.flow.sequence or live.flags & layout.FLOW_LEFT):", "if packet.tcp:"),
    ("new_flows", "        earlier.set(earlier.state, earlier.flags | layout.FLOW_DISPLACED)\n", ""),
    ("new_flows", "    records.close(live)\n", ""),
    ("new_flows", "live.set(layout.FLOW_SYN, live.flags & layout.FLOW_HELD)", "live.set(layout.FLOW_SYN, layout.FLOW_HELD)"),
    ("new_flows", "and reason is Reason.FLOW_CREATED:\n        choice.keep", "and reason is Reason.TO_BACKEND:\n        choice.keep"),
    ("road", "    records.close(record)\n", ""),
    ("road", "    records.close(live)\n", ""),
    ("claims", "return fresh, empty[-1]", "return fresh, empty[0]"),
    ("claims", "            place = free[-1]\n", "            place = free[0]\n"),
    ("claims", "(_IDLE_AGE if idle else 0)", "0"),
    ("choice", "again = _AGAIN if found.entry and", "again = 0 if found.entry and"),
    ("choice", "(0 if entry & _AGAIN else _ONCE)", "0"),
    ("fragments", "        first = max(first, entry.first)\n", "        pass\n"),
    ("fragments", "    entry.word = piece.tag << _TAG_SHIFT | packet.backend\n", "    entry.word = piece.tag << _TAG_SHIFT\n"),
    ("tracked", "        same.entry.stamp = packet.now.second\n", ""),
    ("tracked", "layout.RANK_LAST if second else 1)", "1)"),
    ("tracked", "        way.entry.state = layout.TRACKED_RST\n", "        pass\n"),
    ("tracked", "entry.state in _UNCONFIRMED and (last or not packet.syn)", "entry.state in _UNCONFIRMED and last"),
    ("tracked", "entry.state == layout.TRACKED_LIVE and entry.stamp != now", "entry.state == layout.TRACKED_LIVE"),
    ("tracked", "if packet.sequence == entry.sequence or not ahead else state", "if not ahead else state"),
    ("tracked", "elif entry.state == layout.TRACKED_FIN and not packet.segment and not ahead:", "elif entry.state == layout.TRACKED_FIN:"),
    ("tracked", "entry.sequence += min(ahead, NEAR_STEP)", "entry.sequence += ahead"),
    ("tracked", "        if packet.sequence != entry.sequence:\n            return\n", ""),
    ("tracked", "worth = _WORTH_FREE if _free(packet, entry) else 1", "worth = 1"),
    ("limits", "of_service + policy.service_interval & MASK", "of_service & MASK"),
    ("limits", "if not why and policy.service_interval:", "if policy.service_interval:"),
    ("limits", "used + policy.source_interval & MASK", "policy.source_interval & MASK"),
    ("limits", "& ~_TAG | tag", "& ~_TAG"),
    ("claims", "packet.now.tick + FULL_TICKS & WORD if full", "packet.now.tick & WORD if full"),
    ("new_flows", "        claims.take_for_full(packet, chosen, start, full=False)\n", ""),
)  # fmt: skip
_MODEL: Final = "l4lb_agent.model."


def _functions(module: ModuleType, space: dict[str, object]) -> dict[str, FunctionType]:
    """Those of a module that the namespace has, also of its classes, by qualified name."""
    found = {}
    for value in space.values():
        for one in [value, *(vars(value).values() if inspect.isclass(value) else ())]:
            one = one.fget if isinstance(one, property) else one
            if isinstance(one, FunctionType) and one.__module__ == module.__name__:
                found[one.__qualname__] = one
    return found


@dataclass
class Mutant:
    """The model with one mistake."""

    name: str
    module: ModuleType
    codes: list[tuple[FunctionType, CodeType, CodeType]]  # of which function, right, wrong
    numbers: list[tuple[str, int, int]]

    @classmethod
    def of(cls, name: str, there: str, instead: str) -> "Mutant":
        """Raises AssertionError when the model does not have, or has more than once, what is to be replaced."""
        module = importlib.import_module(_MODEL + (name if "." in name else f"explain.{name}"))
        source = inspect.getsource(module)
        assert source.count(there) == 1, f"{name}: {there!r} is there {source.count(there)} times"
        space: dict[str, object] = {"__name__": module.__name__, "__file__": module.__file__}
        exec(compile(source.replace(there, instead), module.__file__ or name, "exec"), space)
        right, wrong = _functions(module, vars(module)), _functions(module, space)
        codes = [(one, one.__code__, wrong[at].__code__) for at, one in right.items() if one.__code__ != wrong[at].__code__]
        numbers = [(at, value, space[at]) for at, value in vars(module).items() if isinstance(value, int) and space.get(at) != value]
        assert len(codes) + len(numbers) > 0, f"{name}: {instead!r} changes nothing"
        return cls(f"{name}: {there} -> {instead}", module, codes, numbers)  # type: ignore[arg-type]

    def explained(self, explain: Callable[[], Explanation]) -> Explanation | None:
        """What it says; None when it fails."""
        for function, _, wrong in self.codes:
            function.__code__ = wrong
        for at, _, wrong_number in self.numbers:
            setattr(self.module, at, wrong_number)
        try:
            return explain()
        except (AssertionError, ArithmeticError, LookupError, TypeError, ValueError):
            return None
        finally:
            for function, right, _ in self.codes:
                function.__code__ = right
            for at, number, _ in self.numbers:
                setattr(self.module, at, number)


class Mutants:
    """All of them that no packet has found yet."""

    def __init__(self, mistakes: Iterable[tuple[str, str, str]] = MISTAKES) -> None:
        self.left = [Mutant.of(*one) for one in mistakes]

    def judge(self, explain: Callable[[], Explanation]) -> None:
        """A packet that is explained so: those that explain it otherwise are found."""
        right = _outcome(explain()) if self.left else ()
        self.left = [one for one in self.left if _outcome(one.explained(explain)) == right]


def _outcome(of: Explanation | None) -> tuple[object, ...]:
    return (of.verdict, of.reason, of.backend, of.frame, of.changed) if of else ()
