"""Families and their samples as text. prometheus_client says which format the scraper understands and writes the head of each family in it;
samples, of which there may be a hundred thousand, are written here: the library takes ten times as long for one."""

from collections.abc import Callable, Sequence

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from l4lb_agent.metrics.families import Family

_ESCAPED = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_END = b"# EOF\n"


def labels(names: Sequence[str], *values: str) -> str:
    """Labels as a sample has them; what others chose, such as names of interfaces, may hold anything."""
    return ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(names, values, strict=True))


class Sheet:
    """Samples by family, in the order in which they come."""

    def __init__(self) -> None:
        self._lines: dict[Family, list[str]] = {}

    def put(self, family: Family, value: float, *values: str) -> None:
        """One sample with the values of the family's labels."""
        self.lines(family).append(sample(family, labels(family.labels, *values), value))

    def lines(self, family: Family) -> list[str]:
        """To which lines made by sample() may be added."""
        return self._lines.setdefault(family, [])

    def write(self, accept: str, order: Sequence[Family]) -> tuple[str, list[bytes]]:
        """Content type and parts of the text. `accept` is what the scraper understands, as HTTP's Accept says it; families without samples
        are left out."""
        encode, content_type = choose_encoder(accept)
        parts = []
        for family in order:
            lines = self._lines.get(family)
            if lines:
                parts += [_head(encode, family), "".join(lines).encode()]
        return content_type, [*parts, encode(_Collected([]))]


def sample(family: Family, labelled: str, value: float, suffix: str = "") -> str:
    """One line."""
    return f"{family.sample}{suffix}{{{labelled}}} {value}\n" if labelled else f"{family.sample}{suffix} {value}\n"


def histogram(family: Family, bounds: Sequence[float], within: Sequence[int], count: int, total: float) -> list[str]:
    """Its lines, without labels. `within` are counts of what is at most each bound."""
    buckets = [*((str(bound), number) for bound, number in zip(bounds, within, strict=True)), ("+Inf", count)]
    lines = [sample(family, labels(("le",), bound), number, "_bucket") for bound, number in buckets]
    return [*lines, sample(family, "", count, "_count"), sample(family, "", total, "_sum")]


Encode = Callable[[Collector], bytes]


class _Collected(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _head(encode: Encode, family: Family) -> bytes:
    return encode(_Collected([Metric(family.name, family.help, family.kind, family.unit)])).removesuffix(_END)
