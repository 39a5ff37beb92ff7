"""A load balancer with an interface to the clients and another to the backends."""

import pytest

from l4lb.v1.reason_pb2 import Verdict
from lab.nginx import BULK_BYTES
from lab.services import Balanced
from lab.topology import FAMILIES
from tests.netns.conftest import MODES, set_up


def verdicts(running: Balanced) -> dict[int, int]:
    """Packets by verdict."""
    [sample] = running.client.stats(samples=1)
    counted: dict[int, int] = {}
    for row in sample.reasons:
        counted[row.verdict] = counted.get(row.verdict, 0) + row.packets
    return counted


@pytest.mark.parametrize("mode", MODES)
def test_nat_goes_in_at_one_interface_and_out_at_the_other(mode: str) -> None:
    with set_up(mode, two_sided=True) as running:
        running.add_web()
        running.add_echoes()
        seen = running.lab.traffic.counted(running.vips(), 100, "sides")
        assert (seen["errors"], len(seen["by_backend"])) == ({}, 2)
        datagrams = running.lab.traffic.datagrams(running.vips(), 5)
        before = running.lab.sent_by_balancer()
        for family in FAMILIES:
            download = running.lab.traffic.download(running.lab.topology.vip().of(family), "/bulk.bin", "down").result()
            assert (download["errors"], download["sha256"]) == ({}, running.lab.digests["bulk.bin"])
        assert running.lab.sent_by_balancer() - before > 2 * BULK_BYTES  # unlike those of direct return (test_direct.py)
        assert datagrams.result()["errors"] == {}
        counted = verdicts(running)
        assert counted[Verdict.VERDICT_REDIRECT] > 10 * counted.get(Verdict.VERDICT_TX, 0)
