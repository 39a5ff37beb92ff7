"""What l4lbctl top shows of what it heard, without a terminal."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from l4lb.streams import Event, EventKind
from l4lb.top import draw, health
from l4lb.top.state import HISTORY, MOST_ROWS, Lost, Rate, Row, Sort, State, View, backend_state, drained
from l4lb.v1 import reason_pb2, stats_pb2
from l4lb.v1.backend_pb2 import Backend
from l4lb.v1.health_pb2 import Health, Probe
from l4lb.v1.virtual_service_pb2 import VirtualService


def state_of(*backends: str, **more: object) -> State:
    """A state with these backends, `web/a`, and their services."""
    found = State()
    for text in backends:
        service, name = text.split("/")
        full = f"services/{service}"
        found.services[full] = VirtualService(name=full)
        one = Backend(name=f"{full}/backends/{name}", admin_state="ADMIN_STATE_ENABLED", slot_share=0.5, **more)  # type: ignore[arg-type]
        found.heard(Event(EventKind.ADDED, 1, one))
    return found


def sample(second: int, packets: dict[str, int], lost: int = 0, unknown: int = 0) -> stats_pb2.Stats:
    """Counters in packets, a flow for each ten and 100 bytes for each; half a million of one map's million entries."""

    def traffic(count: int) -> stats_pb2.Traffic:
        return stats_pb2.Traffic(packets_in=count, bytes_in=100 * count, flows=count // 10, active_flows=3)

    return stats_pb2.Stats(
        sample_time=Timestamp(seconds=second),
        services=[
            stats_pb2.ServiceStats(service=name, traffic=traffic(count)) for name, count in packets.items() if "/backends/" not in name
        ],
        backends=[stats_pb2.BackendStats(backend=name, traffic=traffic(count)) for name, count in packets.items() if "/backends/" in name],
        reasons=[
            stats_pb2.ReasonStats(reason=reason_pb2.REASON_NO_BACKEND, verdict=reason_pb2.VERDICT_DROP, packets=lost),
            stats_pb2.ReasonStats(reason=127, verdict=reason_pb2.VERDICT_DROP, packets=unknown),  # type: ignore[arg-type]
        ],
        maps=[
            stats_pb2.MapStats(map="flows", entries=500_000, max_entries=1_000_000),
            stats_pb2.MapStats(map="index", entries=1, max_entries=64),
        ],
    )


WEB, A, B = "services/web", "services/web/backends/a", "services/web/backends/b"


def test_rates_are_between_samples_and_a_counter_that_began_anew_is_not_negative() -> None:
    state = state_of("web/a")
    state.feed(sample(10, {WEB: 1000, A: 1000}))
    assert state.rates[A] == Rate(active=3)
    state.feed(sample(12, {WEB: 1400, A: 1400}, lost=50))
    assert state.rates[A] == Rate(200.0, 160_000.0, 20.0, 3, (200.0,))
    assert state.lost[0] == Lost("NO_BACKEND", 25.0, 50)
    state.feed(sample(13, {WEB: 100, A: 100}, lost=50, unknown=7))
    assert state.rates[A].packets == 100.0
    assert [(one.reason, one.rate) for one in state.lost] == [("127", 7.0), ("NO_BACKEND", 0.0)]
    for second in range(14, 14 + 2 * HISTORY):
        state.feed(sample(second, {WEB: 0, A: 0}))
    assert len(state.rates[A].trend) == HISTORY


def test_rows_are_services_each_with_its_backends_in_the_order_that_is_wanted() -> None:
    state = state_of("web/a", "web/b", "api/c")
    state.feed(sample(1, {"services/api": 0, WEB: 0, A: 0, B: 0, "services/api/backends/c": 0}))
    state.feed(sample(2, {"services/api": 5, WEB: 90, A: 30, B: 60, "services/api/backends/c": 5}))

    def names(**view: object) -> list[str]:
        return [row.name.split("/")[-1] for row in state.rows(View(**view))[0]]  # type: ignore[arg-type]

    assert names() == ["web", "b", "a", "api", "c"]
    assert names(reverse=True) == ["api", "c", "web", "a", "b"]
    assert names(sort=Sort.NAME) == ["api", "c", "web", "a", "b"]
    assert names(sort=Sort.NAME, reverse=True) == ["web", "b", "a", "api", "c"]
    assert names(sort=Sort.BITS) == names(sort=Sort.NEW) == ["web", "b", "a", "api", "c"]
    assert names(service=WEB) == ["web", "b", "a"]
    assert names(filter="WEB/A") == ["web", "a"]
    assert names(filter="api") == ["api", "c"]
    assert names(filter="nothing") == []
    state.heard(Event(EventKind.DELETED, 2, state.backends[B]))
    assert names() == ["web", "a", "api", "c"]
    assert [sort.next() for sort in Sort] == [*list(Sort)[1:], Sort.NAME]


def test_many_backends_are_folded_until_one_looks_into_their_service() -> None:
    state = state_of(*(f"web/{number}" for number in range(400)), "api/a")
    rows, total = state.rows(View())
    assert ([row.name for row in rows], total) == (["services/api", "services/web"], 2)
    assert rows[1].state == "400 of 400"
    rows, total = state.rows(View(service=WEB))
    assert (len(rows), total) == (MOST_ROWS, 401)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"slot_share": 0.5}, "ok"),
        ({}, "no slots"),
        ({"reconciling": True}, "waits"),
        ({"effective_state": "EFFECTIVE_STATE_UNHEALTHY"}, "unhealthy"),
        ({"effective_state": "EFFECTIVE_STATE_HEALTH_UNKNOWN"}, "not probed"),
        ({"effective_state": "EFFECTIVE_STATE_NO_WEIGHT"}, "no slots"),
        ({"admin_state": "ADMIN_STATE_DISABLED"}, "disabled"),
        ({"admin_state": "ADMIN_STATE_DRAINED"}, "drained"),
        ({"admin_state": "ADMIN_STATE_DRAINING", "drain": {"initial_flows": 8, "remaining_flows": 6}}, "drain 25%"),
        ({"admin_state": "ADMIN_STATE_DRAINING", "drain": {"initial_flows": 8, "remaining_flows": 9}}, "drain 0%"),
        ({"admin_state": "ADMIN_STATE_DRAINING"}, "drain 100%"),
    ],
)
def test_a_backend_s_state_is_a_word_or_two(fields: dict[str, object], word: str) -> None:
    one = Backend(**{"admin_state": "ADMIN_STATE_ENABLED", **fields})  # type: ignore[arg-type]
    assert backend_state(one) == word
    assert 0 <= drained(one) <= 1


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        (None, ""),
        ({"state": "HEALTH_STATE_UNKNOWN"}, "?"),
        ({"state": "HEALTH_STATE_UP"}, "up"),
        ({"state": "HEALTH_STATE_DOWN"}, "DOWN"),
        ({"state": "HEALTH_STATE_DOWN", "kept_by_on_all_down": True}, "kept"),
        ({"state": "HEALTH_STATE_DOWN", "flapping_until": Timestamp(seconds=9)}, "flaps"),
    ],
)
def test_a_backend_s_health_is_a_word(fields: dict[str, object] | None, word: str) -> None:
    one = Backend(health=Health(**fields) if fields else None)  # type: ignore[arg-type]
    assert health.of_backend(one) == word
    assert health.of_service([one, Backend(health={"state": "HEALTH_STATE_UP"}), Backend()]) == {"": "1/1", "up": "2/2"}.get(word, "1/2")


def test_services_say_how_many_are_up_and_without_checks_nothing() -> None:
    state = state_of("web/a", "web/b", "api/c")
    state.heard(Event(EventKind.MODIFIED, 2, Backend(name=A, health={"state": "HEALTH_STATE_DOWN"})))
    state.heard(Event(EventKind.MODIFIED, 2, Backend(name=B, health={"state": "HEALTH_STATE_UP"})))
    assert [(row.name.split("/")[-1], row.health) for row in state.rows(View(sort=Sort.NAME))[0]] == [
        ("api", ""), ("c", ""), ("web", "1/2"), ("a", "DOWN"), ("b", "up")
    ]  # fmt: skip


def test_all_about_a_backend_begins_with_its_probes_the_newest_first() -> None:
    def probe(second: int, outcome: str, detail: str) -> Probe:
        return Probe(time=Timestamp(seconds=second), latency=Duration(nanos=1_500_000), outcome=f"PROBE_OUTCOME_{outcome}", detail=detail)  # type: ignore[arg-type]

    history = [probe(1, "OK", "200 OK"), probe(2, "REFUSED", "connecting: Connection refused")]
    told = Health(state="HEALTH_STATE_DOWN", consecutive=3, transitions=1, last_probe=history[-1])
    one = Backend(name=A, weight=7, health=told)
    assert draw.backend(one).splitlines()[:2] == [
        "health DOWN since 1970-01-01T00:00:00Z, 3 probes in a row, 1 transitions",
        "1970-01-01T00:00:02Z        REFUSED          1.5 ms  connecting: Connection refused",
    ]
    one.health.history.extend(history)
    one.health.kept_by_on_all_down = True
    one.health.flapping_until.FromSeconds(60)
    text = draw.backend(one)
    assert [line.split()[1] for line in text.splitlines()[3:5]] == ["REFUSED", "OK"]
    assert "takes new flows all the same" in text
    assert "DOWN until 1970-01-01T00:01:00Z" in text
    assert "weight: 7" in text
    assert "last_probe" not in text
    assert "health" not in draw.backend(Backend(name=A))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (9.4, "9"), (999, "999"), (999.6, "1.0k"), (1234, "1.2k"), (9960, "10k"), (35_000, "35k"), (999_499, "999k"),
        (7e6, "7.0M"), (2e9, "2.0G"), (3e12, "3.0T"), (4e15, "4P"),
    ],
)  # fmt: skip
def test_numbers_are_at_most_five_characters(value: float, text: str) -> None:
    assert draw.number(value) == text
    assert len(draw.number(value)) <= 5


def test_curves_bars_and_rows_fit_their_columns() -> None:
    assert draw.curve([], 3) == "   "
    assert draw.curve([0, 0], 3) == "   "
    assert draw.curve([0, 1, 4, 8], 4) == " ▁▄█"
    assert draw.curve(range(100), 4)[-1] == "█"
    assert [draw.bar(part, 4) for part in (0, 0.5, 1, 7)] == ["[....]", "[##..]", "[####]", "[####]"]
    for row in (
        Row(
            f"services/{'w' * 63}/backends/{'b' * 63}",
            True,
            "a state that is far too long",
            Rate(1e14, 1e15, 1e9, 10**9, (1.0,) * 60),
            "a word too long",
        ),
    ):
        assert [len(cell) for cell in draw.cells(row)] == [width for _, width in draw.COLUMNS]
    assert sum(width + 2 for _, width in draw.COLUMNS) <= 80, "at 80 columns nothing is cut off"


def test_panels_say_what_is_dropped_and_how_full_maps_are() -> None:
    state = state_of("web/a")
    assert draw.drops(state.lost, 5) == "DROPS\nnone"
    state.feed(sample(1, {WEB: 0}))
    state.feed(sample(2, {WEB: 0}, lost=1500))
    assert draw.drops(state.lost, 1).splitlines() == ["DROPS", "NO_BACKEND            1.5k/s  1.5k"]
    assert draw.fill(state, 5).splitlines() == ["MAPS", "flows            [#####.....]  50%", "index            [..........]   2%"]


def test_the_head_says_who_is_looked_at_how_it_is_and_what_is_wrong() -> None:
    state = state_of()
    assert "connecting" in draw.headline(state, View(), "unix:///x", False)
    state.trouble = "no agent answers: gone"
    text = draw.headline(state, View(filter="we", reverse=True), "unix:///x", True)
    assert text == "unix:///x  no agent answers: gone\nby packets reversed, filter 'we', PAUSED"
    assert "web is gone" in draw.details(state, WEB)
