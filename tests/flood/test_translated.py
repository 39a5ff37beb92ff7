"""Floods against NAT, where a flow has a record and a port from its first packet on; the errors quote flows of the client that are there,
too."""

from collections.abc import Iterator

import pytest

from lab.direct.modes import Mode
from tests.flood.bed import SECONDS, TOGETHER, Bed, made, outlived, takes_no_aim, withstands
from tests.flood.floods import FLOODS

pytestmark = pytest.mark.timeout(180)

# As many flows without an answer as there are ports, half of the records, and twice as many while one backend is left: a flood takes all
SMALL = {"ports": (20000, 24095), "more": "\n[sizes]\nflows = 32768\n"}


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with made(Mode.NAT, tmp_path_factory.mktemp("flood"), SMALL) as one:
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
