"""What the doctor's doors see where no agent is needed: features of the kernel, interfaces, VLANs on them. Also for Debian's 6.1."""

import asyncio
import re
import socket
from pathlib import Path

import pytest

from l4lb_agent.dataplane import device, probe
from l4lb_agent.model.doctor.examine import examine
from l4lb_agent.model.doctor.facts import Device, Facts, Kernel, Peer, Scope
from l4lb_agent.model.doctor.finding import Id, Severity
from l4lb_agent.system import devices, limits
from l4lb_agent.system.netlink import Netlink
from tests.kernel.conftest import Pair, run

BPF_DIR = Path(probe.__file__).parents[1] / "bpf"


def test_this_kernel_has_every_feature_that_the_sources_use_and_one_that_no_kernel_has_is_missed() -> None:
    assert probe.lacks() == {}
    assert probe.is_compiled()
    [(name, met)] = probe.lacks({"bpf_make_coffee": 9999}).items()
    assert name == "helper bpf_make_coffee for XDP"
    assert "func" in met
    [found] = [one for one in examine(Scope({}), Facts(kernel=Kernel("6.1", {name: met}))) if one.id == Id.KERNEL_FEATURE_MISSING]
    assert found.severity is Severity.ERROR
    sources = "".join(path.read_text() for path in BPF_DIR.glob("*.[ch]"))
    methods = {name: f"bpf_{name}" for name in ("tail_call", "ringbuf_output")}  # as BCC has them: MAP.call(ctx, slot) for the first
    written = {helper for name, helper in methods.items() if re.search(rf"\.{name.removeprefix('tail_')}\(", sources)}
    assert set(probe.HELPERS) == {*re.findall(r"\b(bpf_\w+)\(", sources), *written}


def seen(name: str) -> Device:
    async def look() -> Device:
        netlink = Netlink()
        try:
            found, macs = await devices.devices(netlink, [name])
            assert macs
            return found[name]
        finally:
            netlink.close()

    return asyncio.run(look())


def test_an_interface_is_seen_as_ethtool_and_ip_show_it(inside: Pair) -> None:
    Path("/proc/sys/net/ipv4/conf/eth0/forwarding").write_text("1")
    one = seen("eth0")
    assert (one.name, one.kind, one.mtu, one.up, one.peer) == ("eth0", "veth", 1500, True, Peer("eth0", True, inside.peer))
    assert one.forwards == frozenset({4})
    shown = run("ethtool", "-k", "eth0")
    assert one.offloads["rx-gro"] is ("generic-receive-offload: on" in shown)
    assert one.offloads["rx-vlan-hw-parse"] is ("rx-vlan-offload: on" in shown)
    assert ("rx-lro" in one.fixed) is ("large-receive-offload: off [fixed]" in shown)
    run("ethtool", "-K", "eth0", "rxvlan", "off")
    assert seen("eth0").offloads["rx-vlan-hw-parse"] is False


@pytest.mark.parametrize(
    ("all_", "own", "strict"), [("0", "0", False), ("1", "0", True), ("0", "1", True), ("1", "2", False), ("2", "1", False)]
)
def test_the_larger_of_both_reverse_path_filters_counts(inside: Pair, all_: int, own: int, strict: bool) -> None:
    for which, value in (("all", all_), ("eth0", own)):
        Path(f"/proc/sys/net/ipv4/conf/{which}/rp_filter").write_text(str(value))
    assert seen("eth0").strict is strict


def test_what_the_driver_takes_is_told_or_not_known(inside: Pair) -> None:
    assert device.takes_native(socket.if_nametoindex("eth0")) in (True, None)
    run("ip", "link", "add", "br0", "type", "bridge")
    assert device.takes_native(socket.if_nametoindex("br0")) in (False, None)


def test_packets_that_a_card_merges() -> None:
    """A card of this very machine, which is only looked at."""
    shown = {name: run("ethtool", "-k", name) for _, name in socket.if_nameindex()}
    on = [name for name, features in shown.items() if "rx-gro-hw: on" in features]
    if not on:
        pytest.skip("no card of this machine merges packets")
    merged = {one.subject: one for one in examine(Scope({on[0]: "auto"}), Facts(devices={on[0]: seen(on[0])})) if one.id == Id.GRO_HW_ON}
    assert merged[on[0]].cure == (f"ethtool -K {on[0]} rx-gro-hw off",)
    assert merged[on[0]].safe is ("rx-gro-hw: on [fixed]" not in shown[on[0]])
    others = set(shown) - set(on)
    assert not {one.id for name in others for one in examine(Scope({name: "auto"}), Facts(devices={name: seen(name)}))} & {Id.GRO_HW_ON}


def test_memory_clock_and_cpus_are_those_of_this_machine() -> None:
    total = int(re.findall(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[0]) * 1024
    found = limits.memory()
    assert found.free is not None
    assert 0 < found.free < total
    assert limits.clock().synchronised is not None
    assert limits.cpus() >= 1


@pytest.mark.parametrize(
    ("line", "limit", "used", "folder"),
    [
        ("0::/system.slice/l4lb-agent.service", "memory.max", "memory.current", "sys/fs/cgroup/system.slice"),
        ("4:memory:/l4lb", "memory.limit_in_bytes", "memory.usage_in_bytes", "sys/fs/cgroup/memory/l4lb"),
    ],
)
def test_a_control_group_s_limit_counts_when_it_is_less_than_the_host_has(
    tmp_path: Path, line: str, limit: str, used: str, folder: str
) -> None:
    """Files as the kernel has them: this machine's own hierarchy may be of either version, and is not ours to change."""
    for path, text in (("proc/self/cgroup", f"3:cpu:/other\n{line}\n"), ("proc/meminfo", "MemAvailable: 1000000 kB\n")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / folder).mkdir(parents=True)
    assert limits.memory(tmp_path).source == "this host"
    (tmp_path / folder / limit).write_text("300000000\n")
    (tmp_path / folder / used).write_text("100000000\n")
    assert (limits.memory(tmp_path).free, folder.rpartition("/")[2] in limits.memory(tmp_path).source) == (200_000_000, True)
    (tmp_path / folder / limit).write_text("max\n")
    assert limits.memory(tmp_path).source == "this host"
