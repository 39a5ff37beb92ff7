"""scripts/bench with a few hundred packets a case. No figure is asserted."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.network import PREFIX, network, next_hop
from bench.programs import Programs
from bench.rig import Rig, Void
from bench.traffic import SYN, V4, Packet
from l4lb_agent.model.reasons import Reason, Verdict
from lab import netns

DIRECT = (
    "ipip/changes/v4", "dsr/changes/v4", "gue/changes/v4", "ipip/all/v4", "dsr/all/v4", "ipip/changes/v6", "dsr/changes/v6", "ipip/all/v6",
)  # fmt: skip
FORWARDED = (Reason.TO_BACKEND, Verdict.TX)
CREATED = (Reason.FLOW_CREATED, Verdict.TX)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("bytecode"))


@pytest.fixture
def lb() -> Iterator[str]:
    with network() as (lb, _):
        yield lb


@pytest.mark.timeout(200)
def test_the_command_writes_every_case_and_prints_it(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    command = [sys.executable, "-m", "bench", "--tiny", "--output", str(output), "--cache", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(output.read_text())
    assert {"commit", "machine", "kernel", "yardstick_ns", "cases", "programs", "live", "agent"} <= made.keys()
    assert made["yardstick_ns"].keys() == {"median", "min", "max"}
    promised = {"name", "flows", "median_ns", "min_ns", "max_ns", "ratio", "net_ratio"}
    assert all(promised <= case.keys() for case in made["cases"])
    names = {case["name"] for case in made["cases"]}
    assert names == {
        "nat/-/v4/established", "nat/-/v4/reply", "nat/-/v6/established", "nat/-/v4/udp", "nat/-/v4/syn",
        "pass/-/v4/foreign", "pass/-/v6/foreign", "drop/-/v4/no-service", "drop/-/v4/recorded", "nat/-/v4/recording",
        "ipip/changes/v4/services-1021", "floor/line",
        *(f"{kind}/{packet}" for kind in DIRECT for packet in ("established", "syn")),
    }  # fmt: skip
    assert all(name in done.stdout for name in names)
    assert {program["name"] for program in made["programs"]} == {
        "xdp_l4lb",
        "icmp",
        "odd",
        "later",
        "nat_new",
        "nat_port",
        "tags",
        "answer",
        "capture",
        "sweep",
        "probe",
    }
    assert all(0 < row["instructions"] <= row["processed"] and row["stack"] <= 512 for row in made["programs"])
    assert {row["name"] for row in made["live"]} == {"bare XDP_TX", "l4lb, established"}
    agents = made["agent"]
    assert (agents["few"]["backends"], agents["many"]["backends"]) == (10, 20)
    probes = {f"{kind}_{name}" for kind in ("probing", "flooded") for name in ("gap", "a", "cpu")}
    assert agents["ratios"].keys() == {"gap", "gap_changing", "life", "scrape", "first_stats", "add_backend", "resident", "rest", *probes}
    assert agents["many"]["flooded_a_second"] > agents["many"]["probing_a_second"]
    assert all(agents[side][f"{name}_ms"] > 0 for side in ("few", "many") for name in ("gap", "scrape", "first_stats", "add_backend"))
    assert netns.existing(PREFIX) == []


def test_a_run_whose_packets_end_otherwise_is_void(lb: str, code: Programs) -> None:
    def run() -> None:
        rig = Rig(code, 64, 8, next_hop())
        try:
            with pytest.raises(Void, match="10 packets were to end as TO_BACKEND/TX, but: 10 FOREIGN/PASS"):
                rig.datapath(Packet(V4, destination=V4.foreign), 8, 10, FORWARDED)
        finally:
            rig.close()

    netns.inside(lb, run)


def test_new_flows_are_gone_after_their_run_and_a_second_clearing_is_void(lb: str, code: Programs) -> None:
    def run() -> None:
        rig = Rig(code, 64, 8, next_hop())
        syn = Packet(V4, flags=SYN)
        try:
            rig.datapath(syn, 8, 8, CREATED)
            with pytest.raises(Void, match="8 packets were to end as FLOW_CREATED/TX"):
                rig.datapath(syn, 8, 8, CREATED)
            rig.clear(8)
            rig.datapath(syn, 8, 8, CREATED)
            rig.clear(8)
            with pytest.raises(Void, match="0 records of 8 new flows are freed"):
                rig.clear(8)
        finally:
            rig.close()

    netns.inside(lb, run)
