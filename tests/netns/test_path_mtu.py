"""Path MTU discovery with real stacks: clients whose packets do not fit into the way to a backend learn what does."""

from typing import Any

import pytest

from l4lb.v1.reason_pb2 import Reason
from lab.direct.modes import Mode
from lab.services import EVEN, Balanced
from lab.topology import FAMILIES
from tests.netns.conftest import counted, learnt, set_up

NARROW = 1340  # of the way to each backend: less than the segments for which the backends ask, and an outer header
CASES: dict[str, tuple[Mode, int, dict[str, Any]]] = {
    "ipip-over-v4": (Mode.IPIP, 20, {"over": {"a": 4, "b": 4}}),
    "ipip-over-v6-generic": (Mode.IPIP, 40, {"over": {"a": 6, "b": 6}, "mode": "generic"}),
    "gue-over-v4-routed": (Mode.GUE, 32, {"over": {"a": 4, "b": 4}, "routed": True}),
    "fou-over-v6-redirect": (Mode.FOU, 48, {"over": {"a": 6, "b": 6}, "mode": "native-redirect"}),
    "dsr": (Mode.DSR, 0, {}),
    "nat": (Mode.NAT, 0, {}),
    "nat-two-sided": (Mode.NAT, 0, {"two_sided": True}),
}


def path_mtu(running: Balanced, family: int) -> int:
    """What the client's kernel believes of the way to the VIP; 0 for nothing in particular."""
    return learnt(running, "client", running.lab.topology.vip().of(family))


@pytest.mark.parametrize("name", CASES)
def test_an_upload_over_a_narrow_way_completes_once_the_client_has_learned_its_mtu(name: str) -> None:
    forwarding, outer, arguments = CASES[name]
    with set_up(forwarding=forwarding, **arguments) as running:
        running.add_web(EVEN)
        for family in FAMILIES:
            for backend in EVEN:
                running.client.update_backend(f"web{family}/{backend}", mtu=NARROW)
        for family in FAMILIES:
            vip, marker = running.lab.topology.vip().of(family), f"up{family}"
            upload = running.lab.traffic.upload(vip, f"/upload/{marker}", 3_000_000, marker)
            assert upload["errors"] == {}
            [server] = [server for server in running.lab.nginx.values() if server.logged(marker)]
            assert server.uploaded(marker) == upload["sha256"]
            assert path_mtu(running, family) == NARROW - outer
            assert running.lab.traffic.download(vip, "/bulk.bin", f"down{family}").result()["errors"] == {}
        assert 0 < counted(running, Reason.REASON_TOO_BIG_ANSWERED) < 1000
        assert counted(running, Reason.REASON_MTU_EXCEEDED) == 0


@pytest.mark.parametrize("clamp", [{"mss_clamp": "auto"}, {"mss_clamp": "fixed", "mss": NARROW - 60}], ids=["auto", "fixed"])
def test_segments_of_a_clamped_nat_service_fit_and_nobody_has_to_be_told(clamp: dict[str, Any]) -> None:
    with set_up(options=clamp) as running:
        running.add_web(EVEN)
        for family in FAMILIES:
            for backend in EVEN:
                running.client.update_backend(f"web{family}/{backend}", mtu=NARROW)
        for family in FAMILIES:
            vip = running.lab.topology.vip().of(family)
            assert running.lab.traffic.upload(vip, f"/upload/fits{family}", 3_000_000, f"fits{family}")["errors"] == {}
            assert running.lab.traffic.download(vip, "/bulk.bin", f"down{family}").result()["errors"] == {}
            assert path_mtu(running, family) == 0
        assert counted(running, Reason.REASON_TOO_BIG_ANSWERED) == 0
        assert counted(running, Reason.REASON_TO_BACKEND) > 0


def test_without_an_mtu_of_its_own_a_backend_is_sent_what_its_way_takes() -> None:
    with set_up() as running:
        running.add_web(EVEN)
        for family in FAMILIES:
            vip = running.lab.topology.vip().of(family)
            assert running.lab.traffic.upload(vip, f"/upload/whole{family}", 1_000_000, f"whole{family}")["errors"] == {}
            assert path_mtu(running, family) == 0
        assert counted(running, Reason.REASON_TOO_BIG_ANSWERED) == 0
