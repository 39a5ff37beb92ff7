"""Floods that make no flows, against NAT: the errors quote flows of the client that are there, too."""

from collections.abc import Iterator

import pytest

from lab.direct.modes import Mode
from tests.flood.bed import Bed, made, outlived, withstands

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with made(Mode.NAT, tmp_path_factory.mktemp("flood")) as one:
        yield one


@pytest.mark.parametrize("name", ["udp", "icmp", "fragments"])
def test_a_flood_cuts_nobody_keeps_nobody_out_and_is_counted(bed: Bed, name: str) -> None:
    withstands(bed, name)


def test_the_established_connections_outlived_all_floods(bed: Bed) -> None:
    outlived(bed)
