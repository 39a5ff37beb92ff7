"""When samples are due."""

from hypothesis import given
from hypothesis import strategies as st

from l4lb_agent.api.pace import Pace


def test_the_first_sample_is_due_at_once_and_the_next_ones_each_interval() -> None:
    pace = Pace(100.0, 2.0)
    assert (pace.wait(100.0), pace.take(100.0)) == (0.0, 0)
    assert pace.wait(100.5) == 1.5
    assert (pace.wait(102.0), pace.take(102.0)) == (0.0, 0)


def test_a_late_reader_gets_one_sample_and_the_count_of_those_it_missed() -> None:
    pace = Pace(0.0, 1.0)
    pace.take(0.0)
    assert pace.take(5.3) == 4
    assert round(pace.wait(5.3), 6) == 0.7, "the rhythm is kept"


def test_a_sample_that_is_a_little_late_misses_nothing() -> None:
    pace = Pace(0.0, 1.0)
    pace.take(0.0)
    assert [pace.take(t) for t in (1.2, 2.9, 3.0)] == [0, 0, 0]


@given(st.floats(0.1, 10), st.lists(st.floats(0, 30), max_size=40))
def test_samples_taken_and_missed_are_all_ticks_that_have_come(interval: float, delays: list[float]) -> None:
    now, pace, total = 0.0, Pace(0.0, interval), 0
    for delay in delays:
        now += pace.wait(now)
        total += pace.take(now) + 1
        assert total - 1 <= now / interval + 1e-6 < total + 1
        now += delay
