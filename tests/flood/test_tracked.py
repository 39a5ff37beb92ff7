"""Floods that make entries, against IPIP with all flows tracked."""

from collections.abc import Iterator

import pytest

from lab.direct.modes import Mode
from tests.flood.bed import SECONDS, SMALL, Bed, made, outlived, withstands

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with made(Mode.IPIP, tmp_path_factory.mktemp("flood"), SMALL, change_window=30, flow_tracking="all") as one:
        yield one


@pytest.mark.parametrize("name", ["syn", "pairs"])
def test_a_flood_cuts_nobody_keeps_nobody_out_and_is_counted(bed: Bed, name: str) -> None:
    withstands(bed, name)


@pytest.mark.parametrize("names", ["starting"])
def test_so_do_floods_of_ipv6(bed: Bed, names: str) -> None:
    withstands(bed, names, 6, SECONDS / 2)


def test_the_established_connections_outlived_all_floods(bed: Bed) -> None:
    outlived(bed)
