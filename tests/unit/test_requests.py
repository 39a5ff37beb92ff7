"""Remembered requests: found while they count, gone in time, cheap however many there are."""

import pytest

from l4lb_agent.model import desired
from l4lb_agent.model.desired import REMEMBER_SECONDS, Remembered, Requests


def remembered(number: int, time: float = 0.0) -> Remembered:
    return Remembered(f"id-{number}", "hash", time, number)


def filled(count: int) -> Requests:
    made = Requests()
    for number in range(count):
        made = made.with_one_more(remembered(number, float(number)), float(number))
    return made


def test_every_request_is_found_oldest_first_and_earlier_values_do_not_change() -> None:
    few = filled(3)
    many = filled(1700)
    assert list(many) == [f"id-{number}" for number in range(1700)]
    assert all(many[f"id-{number}"].revision == number for number in range(1700))
    assert "id-1700" not in many
    assert many.get("id-1700") is None
    assert dict(few.with_one_more(remembered(9), 3.0)) != dict(few) == {f"id-{n}": remembered(n, float(n)) for n in range(3)}


def test_a_list_of_them_makes_the_same() -> None:
    assert Requests.of(filled(1234).values()) == filled(1234)
    assert Requests.of([]) == Requests()


def test_an_id_used_again_has_its_new_answer() -> None:
    again = filled(1200).with_one_more(Remembered("id-3", "other", 5000.0, 7), 5000.0)
    assert again["id-3"].request_hash == "other"
    assert len(again) == 1200


def test_the_oldest_go_after_a_day_and_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    a_day_later = filled(2000).with_one_more(remembered(5000, REMEMBER_SECONDS + 1500.0), REMEMBER_SECONDS + 1500.0)
    assert "id-1501" in a_day_later
    assert "id-900" not in a_day_later
    monkeypatch.setattr(desired, "REMEMBER_MOST", 1000)
    bounded = filled(5000)
    assert len(bounded) <= 1000
    assert "id-4501" in bounded


def test_one_more_copies_a_bounded_part() -> None:
    before = filled(20_000)
    after = before.with_one_more(remembered(20_000), 20_000.0)
    shared = {id(part) for part in before._generations} & {id(part) for part in after._generations}
    assert len(after._generations) - len(shared) == 1
    assert len(after._generations[-1]) <= 500
