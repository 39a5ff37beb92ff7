"""The benchmark's arithmetic and the shape of build/bench.json, on made-up samples."""

import json

import pytest

from bench.figures import AgentFigures, AgentsFigures, CaseFigures, LiveFigures, Probing, ProgramFigures, Report, Spread

YARDSTICK = Spread(median=40, min=30, max=90)
CASE = CaseFigures("nat/-/v4/established", 1024, gross=Spread(200, 150, 400), wrapper=Spread(50, 45, 80))
REPORT = Report("abc1234", "2 x Some CPU", "6.1.0", YARDSTICK, (CASE,))


def test_a_spread_is_the_median_and_the_extremes_of_unsorted_samples() -> None:
    assert Spread.of([9, 1, 5, 7]) == Spread(median=6, min=1, max=9)


def test_no_samples_are_no_figure() -> None:
    with pytest.raises(ValueError, match="no samples"):
        Spread.of([])


def test_ratio_is_over_the_yardstick_and_net_ratio_over_the_empty_wrapper() -> None:
    assert CASE.ratio(YARDSTICK) == 5.0
    assert CASE.net_ratio == 3.0


def test_a_case_as_cheap_as_the_empty_wrapper_costs_nothing_net() -> None:
    assert CaseFigures("n", 1, gross=Spread(50, 50, 50), wrapper=Spread(50, 50, 50)).net_ratio == 0


def test_the_json_has_exactly_the_promised_fields() -> None:
    made = json.loads(json.dumps(REPORT.to_json()))
    assert {"commit", "machine", "kernel", "yardstick_ns", "cases"} <= made.keys()
    assert made["yardstick_ns"] == {"median": 40, "min": 30, "max": 90}
    (case,) = made["cases"]
    promised = {"name": "nat/-/v4/established", "flows": 1024, "median_ns": 200, "min_ns": 150, "max_ns": 400}
    assert (promised | {"ratio": 5.0, "net_ratio": 3.0}).items() <= case.items()


def test_programs_and_live_rows_are_in_json_and_table() -> None:
    program = ProgramFigures("xdp_l4lb", instructions=900, processed=12345, stack=256, load_ms=4.26)
    live = LiveFigures("l4lb", 1, Spread(2.0, 1.5, 2.5))
    report = Report("abc1234", "m", "k", YARDSTICK, (CASE,), (program,), (live,))
    made = report.to_json()
    assert made["programs"] == [{"name": "xdp_l4lb", "instructions": 900, "processed": 12345, "stack": 256, "load_ms": 4.3}]
    assert made["live"] == [{"name": "l4lb", "flows": 1, "mpps": {"median": 2.0, "min": 1.5, "max": 2.5}}]
    assert "| xdp_l4lb |" in report.table()
    assert report.table().splitlines()[-1].replace(" ", "") == "|l4lb|1|2.00|1.50|2.50|500|"  # 2 Mpps are 500 ns a packet


def test_an_agent_with_many_backends_is_told_beside_one_with_few() -> None:
    def agent(backends: int, factor: float) -> AgentFigures:
        times = [Spread.of([seconds * factor]) for seconds in (0.002, 0.004, 0.1, 0.01, 0.05)]
        probing = Probing(times[0], 200.0 * factor, 0.1 * factor)
        return AgentFigures(
            backends, times[0], times[1], 1.0, *times[2:], resident=int(50e6 * factor), rest=0.0, probing=probing, flooded=probing
        )

    agents = AgentsFigures(agent(10, 1), agent(10_000, 3))
    report = Report("abc1234", "m", "k", YARDSTICK, (CASE,), agents=agents)
    made = json.loads(json.dumps(report.to_json()))["agent"]
    assert (made["few"]["gap_ms"], made["many"]["backends"], made["many"]["scrape_ms"]) == (2, 10_000, 300)
    ratios = dict.fromkeys(("gap", "gap_changing", "scrape", "first_stats", "add_backend", "resident"), 3.0)
    probes = {f"{kind}_{name}": 3.0 for kind in ("probing", "flooded") for name in ("gap", "a", "cpu")}
    assert made["ratios"] == {**ratios, **probes, "life": 1.0, "rest": 0.0}
    assert report.table().splitlines()[-8].replace(" ", "") == "|resident_mb|50.0|150.0|3.0|"


def test_the_table_has_one_line_for_each_case_and_one_for_the_yardstick() -> None:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in REPORT.table().splitlines() if line.startswith("|")]
    assert cells[0] == ["case", "flows", "ns median", "min", "max", "wrapper median", "min", "ratio", "net ratio"]
    yardstick = ["yardstick", "", "40", "30", "90", "", "", "1.00", ""]
    assert cells[2:] == [yardstick, ["nat/-/v4/established", "1,024", "200", "150", "400", "50", "45", "5.00", "3.00"]]
