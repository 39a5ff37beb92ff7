"""The figures of a run, their shape in JSON, and the table for people. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median and extremes of samples of one unit."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Of at least one sample; raises ValueError when there is none."""
        if not samples:
            raise ValueError("no samples")
        return cls(statistics.median(samples), min(samples), max(samples))

    def cells(self, digits: int) -> tuple[str, str, str]:
        """Median, minimum and maximum with so many digits after the point."""
        return f"{self.median:.{digits}f}", f"{self.min:.{digits}f}", f"{self.max:.{digits}f}"

    def to_json(self) -> dict[str, float]:
        """As an object of three numbers."""
        return {"median": self.median, "min": self.min, "max": self.max}


@dataclass(frozen=True)
class CaseFigures:
    """One case: nanoseconds a packet of wrapper and datapath together, and of the empty wrapper in the same rounds."""

    name: str  # MODE/TRACKING/FAMILY/PACKET
    flows: int
    gross: Spread
    wrapper: Spread

    def ratio(self, yardstick: Spread) -> float:
        """How many bare programs that send back fit into its time."""
        return self.gross.median / yardstick.median

    @property
    def net_ratio(self) -> float:
        """What the datapath adds, in empty wrappers."""
        return (self.gross.median - self.wrapper.median) / self.wrapper.median

    def to_json(self, yardstick: Spread) -> dict[str, object]:
        """As in build/bench.json."""
        spread = {f"{name}_ns": value for name, value in self.gross.to_json().items()}
        ratios = {"ratio": round(self.ratio(yardstick), 3), "net_ratio": round(self.net_ratio, 3)}
        return {"name": self.name, "flows": self.flows, **spread, **ratios, "wrapper_ns": self.wrapper.to_json()}


@dataclass(frozen=True)
class ProgramFigures:
    """What the verifier says of one program, and milliseconds to verify and load it."""

    name: str
    instructions: int  # in the program
    processed: int  # by the verifier, over all paths
    stack: int  # bytes
    load_ms: float

    def to_json(self) -> dict[str, object]:
        """As in build/bench.json."""
        return {**vars(self), "load_ms": round(self.load_ms, 1)}


@dataclass(frozen=True)
class LiveFigures:
    """Millions of packets a second through a veth pair, generator and sink on the same CPU."""

    name: str
    flows: int
    mpps: Spread

    def to_json(self) -> dict[str, object]:
        """As in build/bench.json."""
        return {"name": self.name, "flows": self.flows, "mpps": {name: round(value, 4) for name, value in self.mpps.to_json().items()}}


@dataclass(frozen=True)
class Probing:
    """While backends are probed: the longest gap of the event loop in each second, probes a second, share of one CPU."""

    gap: Spread
    rate: float
    cpu: float


@dataclass(frozen=True)
class AgentFigures:
    """An agent with so many backends. Seconds, but for `resident` (bytes) and `rest` (of one CPU, when nobody asks it for anything)."""

    backends: int
    gap: Spread  # the longest of its event loop in each second, scraped and streaming
    gap_changing: Spread  # while backends are added besides
    life: float  # the longest between two signs of life to the service manager
    scrape: Spread
    first_stats: Spread  # until the first message of StreamStats
    add_backend: Spread
    resident: int
    rest: float
    probing: Probing  # each backend every five seconds
    flooded: Probing  # as often as it can

    def values(self) -> dict[str, float]:
        """Each figure as one number in the unit that its name ends with; medians of those that were taken often."""
        return {
            "gap_ms": self.gap.median * 1e3, "gap_changing_ms": self.gap_changing.median * 1e3, "life_ms": self.life * 1e3,
            "scrape_ms": self.scrape.median * 1e3, "first_stats_ms": self.first_stats.median * 1e3,
            "add_backend_ms": self.add_backend.median * 1e3, "resident_mb": self.resident / 1e6, "rest_percent": self.rest * 100,
            "probing_gap_ms": self.probing.gap.median * 1e3, "probing_a_second": self.probing.rate,
            "probing_cpu_percent": self.probing.cpu * 100, "flooded_gap_ms": self.flooded.gap.median * 1e3,
            "flooded_a_second": self.flooded.rate, "flooded_cpu_percent": self.flooded.cpu * 100,
        }  # fmt: skip


@dataclass(frozen=True)
class AgentsFigures:
    """An agent with many backends, beside one with few."""

    few: AgentFigures
    many: AgentFigures

    def ratios(self) -> dict[str, float]:
        """How many times what it is with few each figure is; 0 where there is nothing with few."""
        few, many = self.few.values(), self.many.values()
        return {name.rpartition("_")[0]: many[name] / few[name] if few[name] else 0.0 for name in few}

    def to_json(self) -> dict[str, object]:
        """As in build/bench.json."""
        sides = {"few": self.few, "many": self.many}
        shown = {name: {"backends": of.backends, **_rounded(of.values())} for name, of in sides.items()}
        return {**shown, "ratios": _rounded(self.ratios())}

    def rows(self) -> list[tuple[str, ...]]:
        """For a table."""
        few, many = self.few.values(), self.many.values()
        return [(name, f"{few[name]:.1f}", f"{many[name]:.1f}", f"{ratio:.1f}") for name, ratio in zip(few, self.ratios().values())]


@dataclass(frozen=True)
class Report:
    """Everything that one run measured."""

    commit: str
    machine: str
    kernel: str
    yardstick: Spread
    cases: tuple[CaseFigures, ...]
    programs: tuple[ProgramFigures, ...] = ()
    live: tuple[LiveFigures, ...] = ()
    agents: AgentsFigures | None = None

    def to_json(self) -> dict[str, object]:
        """The content of build/bench.json."""
        return {
            "commit": self.commit,
            "machine": self.machine,
            "kernel": self.kernel,
            "yardstick_ns": self.yardstick.to_json(),
            "cases": [case.to_json(self.yardstick) for case in self.cases],
            "programs": [program.to_json() for program in self.programs],
            "live": [row.to_json() for row in self.live],
            "agent": self.agents.to_json() if self.agents else None,
        }

    def table(self) -> str:
        """The same for people, as Markdown."""
        lines = [f"{self.machine}, Linux {self.kernel}, commit {self.commit}", ""]
        lines += _markdown(("case", "flows", "ns median", "min", "max", "wrapper median", "min", "ratio", "net ratio"), self._case_rows())
        if self.programs:
            programs = [(p.name, f"{p.instructions}", f"{p.processed}", f"{p.stack}", f"{p.load_ms:.1f}") for p in self.programs]
            lines += ["", *_markdown(("program", "instructions", "processed", "stack bytes", "load ms"), programs)]
        if self.live:
            live = [(r.name, f"{r.flows:,}", *r.mpps.cells(2), f"{1000 / r.mpps.median:.0f}") for r in self.live]
            lines += ["", *_markdown(("over veth", "flows", "Mpps median", "min", "max", "ns of the median"), live)]
        if self.agents:
            head = ("agent, with so many backends", f"{self.agents.few.backends:,}", f"{self.agents.many.backends:,}", "ratio")
            lines += ["", *_markdown(head, self.agents.rows())]
        return "\n".join(lines) + "\n"

    def _case_rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("yardstick", "", *self.yardstick.cells(0), "", "", "1.00", "")]
        for case in self.cases:
            ratios = (f"{case.ratio(self.yardstick):.2f}", f"{case.net_ratio:.2f}")
            rows.append((case.name, f"{case.flows:,}", *case.gross.cells(0), *case.wrapper.cells(0)[:2], *ratios))
        return rows


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in values.items()}


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        aligned = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(cells, widths))]
        return "| " + " | ".join(aligned) + " |"

    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return [line(head), line(rule), *(line(row) for row in rows)]
