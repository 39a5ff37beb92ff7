"""Floods against DSR while the flows that a change put at risk are tracked: every backend comes and goes inside an open window."""

from collections.abc import Iterator

import pytest

from lab.direct.modes import Mode
from tests.flood.bed import SECONDS, SMALL, TOGETHER, Bed, made, outlived, takes_no_aim, withstands
from tests.flood.floods import FLOODS

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with made(Mode.DSR, tmp_path_factory.mktemp("flood"), SMALL, change_window=30, flow_tracking="changes") as one:
        yield one


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_cuts_nobody_keeps_nobody_out_and_is_counted(bed: Bed, name: str) -> None:
    withstands(bed, name)


@pytest.mark.parametrize("names", TOGETHER)
def test_so_do_floods_of_ipv6(bed: Bed, names: str) -> None:
    withstands(bed, names, 6, SECONDS / 2)


def test_only_who_knows_the_hashs_key_can_aim_at_one_backend(bed: Bed) -> None:
    takes_no_aim(bed)


def test_the_established_connections_outlived_all_floods(bed: Bed) -> None:
    outlived(bed)
