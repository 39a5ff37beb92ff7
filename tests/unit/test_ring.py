"""The ring: shares, disruption, independence."""

from hypothesis import given, settings
from hypothesis import strategies as st

from l4lb_agent.model import ring

SECRET = bytes(range(16))


def equal(count: int, weight: int = 100) -> dict[str, int]:
    return {f"10.0.{n // 256}.{n % 256} 80": weight for n in range(count)}


def owners(built: ring.Ring) -> list[str]:
    return [built.owners[slot] for slot in built.slots]


def moved(before: ring.Ring, after: ring.Ring) -> float:
    """Per cent of the slots with another owner."""
    return 100 * sum(a != b for a, b in zip(owners(before), owners(after))) / before.size


def test_every_slot_has_an_owner_and_equal_weights_share_equally() -> None:
    built = ring.build(16381, equal(10), SECRET)
    assert len(built.slots) == 16381
    assert all(abs(built.share(owner) - 0.1) < 0.003 for owner in built.owners)


def test_shares_follow_weights_within_three_thousandths() -> None:
    weights = {"a": 3, "b": 1, "c": 10, "d": 7}
    built = ring.build(16381, weights, SECRET)
    for owner, weight in weights.items():
        assert abs(built.share(owner) - weight / 21) < 0.003


def test_a_ratio_of_one_to_a_thousand_is_kept() -> None:
    built = ring.build(65537, {"small": 1, "large": 1000}, SECRET)
    assert abs(built.share("small") - 1 / 1001) < 0.0003


def test_removing_one_of_ten_moves_little_more_than_its_tenth() -> None:
    before = ring.build(65537, equal(10), SECRET)
    after = ring.build(65537, dict(list(equal(10).items())[1:]), SECRET)
    assert 9.8 < moved(before, after) < 10.0 + 2 * 0.23 + 0.2


def test_removing_one_of_a_hundred_moves_little_more_than_its_hundredth() -> None:
    before = ring.build(65537, equal(100), SECRET)
    after = ring.build(65537, dict(list(equal(100).items())[1:]), SECRET)
    assert 0.9 < moved(before, after) < 1.0 + 2 * 0.57


def test_halving_one_weight_of_ten_moves_little_more_than_the_difference() -> None:
    before = ring.build(65537, equal(10), SECRET)
    after = ring.build(65537, {**equal(10), "10.0.0.3 80": 50}, SECRET)
    assert 4.5 < moved(before, after) < 4.74 + 3 * 0.17


weights_strategy = st.dictionaries(st.integers(1, 250).map("10.0.0.{} 80".format), st.integers(0, 65535), min_size=1, max_size=20)


@settings(max_examples=40, deadline=None)
@given(weights_strategy, st.randoms(use_true_random=False))
def test_the_order_of_the_backends_changes_nothing(weights: dict[str, int], random: object) -> None:
    items = list(weights.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert ring.build(1021, dict(items), SECRET) == ring.build(1021, weights, SECRET)


@settings(max_examples=40, deadline=None)
@given(weights_strategy, st.integers(2, 9))
def test_scaling_all_weights_moves_nothing(weights: dict[str, int], factor: int) -> None:
    scaled = {identity: weight * factor for identity, weight in weights.items()}
    assert ring.build(1021, scaled, SECRET) == ring.build(1021, weights, SECRET)


@settings(max_examples=40, deadline=None)
@given(weights_strategy)
def test_weight_zero_is_absence(weights: dict[str, int]) -> None:
    present = {identity: weight for identity, weight in weights.items() if weight}
    assert ring.build(1021, weights, SECRET) == ring.build(1021, present, SECRET)


@settings(max_examples=40, deadline=None)
@given(weights_strategy)
def test_every_slot_is_owned_by_a_backend_with_weight(weights: dict[str, int]) -> None:
    built = ring.build(1021, weights, SECRET)
    positive = {identity for identity, weight in weights.items() if weight}
    assert set(built.owners) == positive
    assert len(built.slots) == (1021 if positive else 0)
    assert all(slot < len(built.owners) for slot in built.slots)


def test_without_backends_there_is_no_ring_and_no_digest() -> None:
    built = ring.build(1021, {"a": 0}, SECRET)
    assert (built.owners, len(built.slots), built.digest) == ((), 0, "")


def test_another_secret_gives_another_ring_and_digest() -> None:
    one, other = ring.build(1021, equal(5), SECRET), ring.build(1021, equal(5), bytes(16))
    assert moved(one, other) > 50
    assert one.digest != other.digest


def test_the_ring_never_changes_between_versions_without_a_new_algorithm_version() -> None:
    """A fleet with mixed versions must agree on every slot."""
    assert ring.ALGORITHM_VERSION == 1
    assert ring.build(1021, {"10.0.0.1 80": 3, "10.0.0.2 80": 1}, SECRET).digest == (
        "a4197166e2176b0dd7daee06d7f501ed12e22d33d5b6bb7cd0d0ef69bde8a267"
    )


def test_slots_become_datapath_ids() -> None:
    built = ring.build(1021, {"a": 1, "b": 1}, SECRET)
    ids = built.with_ids({"a": 7, "b": 300})
    assert set(ids) == {7, 300}
    assert [id_ == 7 for id_ in ids] == [built.owners[slot] == "a" for slot in built.slots]
