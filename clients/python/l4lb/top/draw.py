"""Numbers, bars and curves as text that fits its column."""

from collections.abc import Sequence

from l4lb import names
from l4lb.top import health
from l4lb.top.state import Lost, Row, State, View
from l4lb.v1 import agent_pb2
from l4lb.v1.backend_pb2 import Backend

BARS = " ▁▂▃▄▅▆▇█"
COLUMNS = (("NAME", 17), ("STATE", 10), ("HEALTH", 6), ("PKT/S", 6), ("BIT/S", 6), ("NEW/S", 6), ("ACTIVE", 6), ("TREND", 7))
_FIGURES = 3  # columns before them


def number(value: float) -> str:
    """At most five characters: 999, 1.2k, 35k, 7.0M."""
    for unit in ("", "k", "M", "G", "T"):
        if value < 999.5:
            return f"{value:.1f}{unit}" if unit and value < 9.95 else f"{value:.0f}{unit}"
        value /= 1000
    return f"{value:.0f}P"


def curve(values: Sequence[float], width: int) -> str:
    """The last values as bars of eight heights, the largest of them full."""
    shown = list(values)[-width:]
    top = max(shown, default=0.0)
    return "".join(BARS[-(-int(8000 * value / top) // 1000)] if top else BARS[0] for value in shown).rjust(width)


def bar(part: float, width: int) -> str:
    """A part of a whole, as in [####....]."""
    full = round(max(0.0, min(1.0, part)) * width)
    return f"[{'#' * full}{'.' * (width - full)}]"


def cells(row: Row) -> list[str]:
    """One row of the table, in the order of COLUMNS."""
    name = names.short(row.name)
    shown = f"  {name.partition('/')[2]}" if row.is_backend else name
    rate = row.rate
    figures = [
        number(value).rjust(width) for value, (_, width) in zip((rate.packets, rate.bits, rate.new, rate.active), COLUMNS[_FIGURES:])
    ]
    words = [_fit(text, width) for text, (_, width) in zip((shown, row.state, row.health), COLUMNS)]
    return [*words, *figures, curve(rate.trend, COLUMNS[-1][1])]


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def headline(state: State, view: View, target: str, paused: bool) -> str:
    """Who is looked at and how."""
    agent = state.agent
    if state.trouble:
        how = state.trouble
    elif agent is None:
        how = "connecting"
    else:
        modes = ", ".join(f"{i.name} {_mode(i)}" for i in agent.interfaces)
        how = f"{'ready' if agent.ready else f'NOT READY: {agent.not_ready_reason}'}, revision {agent.applied_revision}, {modes}"
    order = f"by {view.sort.value}{' reversed' if view.reverse else ''}"
    extra = [order, *([f"filter {view.filter!r}"] if view.filter else []), *(["PAUSED"] if paused else [])]
    return f"{target}  {how}\n{', '.join(extra)}"


def _mode(interface: agent_pb2.Interface) -> str:
    return agent_pb2.XdpMode.Name(interface.mode).removeprefix("XDP_MODE_").lower() if interface.mode else "not attached"


def drops(lost: Sequence[Lost], lines: int) -> str:
    """Why packets are dropped, the fastest first."""
    rows = [f"{_fit(one.reason, 20):<20} {number(one.rate):>5}/s {number(one.total):>5}" for one in lost[:lines]]
    return "\n".join(["DROPS", *(rows or ["none"])])


def fill(state: State, lines: int) -> str:
    """How full maps are, the fullest first."""
    maps = state.sample.maps if state.sample else ()
    parts = sorted(((one.entries / (one.max_entries or 1), one.map) for one in maps), key=lambda pair: (-pair[0], pair[1]))
    return "\n".join(["MAPS", *(f"{_fit(name, 16):<16} {bar(part, 10)} {part:4.0%}" for part, name in parts[:lines])])


def details(state: State, name: str) -> str:
    """Everything about one backend or service, a line each."""
    one = state.backends.get(name)
    if one is not None:
        return backend(one)
    service = state.services.get(name)
    return str(service).strip() if service is not None else f"{names.short(name)} is gone"


def backend(one: Backend) -> str:
    """Everything about a backend, its health first."""
    if not one.HasField("health"):
        return str(one).strip()
    rest = Backend()
    rest.CopyFrom(one)
    rest.ClearField("health")
    return f"{health.told(one)}\n\n{str(rest).strip()}"
