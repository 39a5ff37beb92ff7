"""Captures of a running load balancer: what the wire saw, while traffic goes on as if nobody looked."""

import io
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapNgReader

import l4lb
from l4lb.cli.main import cli
from l4lb.v1.reason_pb2 import REASON_FLOW_CREATED, REASON_TO_CLIENT, VERDICT_DROP
from lab.services import Balanced
from tests.netns.test_changes import eventually


def test_a_flow_is_seen_in_both_directions_before_and_after_translation(web: Balanced) -> None:
    vip = web.lab.topology.vip().v4
    found = {}
    for message in web.client.capture(service="web4", snap_bytes=200):
        if not message.packets and not found:
            web.lab.traffic.counted([vip], 1, "captured")
        found.update({packet.reason: packet for packet in message.packets})
        if {REASON_FLOW_CREATED, REASON_TO_CLIENT} <= found.keys():
            break
    there, back = found[REASON_FLOW_CREATED], found[REASON_TO_CLIENT]
    for packet in (there, back):
        assert (packet.service, packet.backend.rpartition("/")[0]) == ("services/web4", "services/web4/backends")
    came, left = Ether(there.received), Ether(there.sent)
    backend = web.client.get_backend(there.backend)
    assert (came[IP].dst, came[TCP].dport) == (vip, 80)
    assert (left[IP].dst, left.dst) == (backend.address, backend.next_hop.mac)
    assert (Ether(back.received)[IP].src, Ether(back.sent)[IP].src) == (backend.address, vip)
    assert (Ether(back.sent)[IP].dst, Ether(back.sent)[TCP].dport) == (came[IP].src, came[TCP].sport)


def test_no_packet_is_lost_while_captures_come_and_go(web: Balanced) -> None:
    web.add_echoes()
    load = web.lab.traffic.connections(web.vips(), 20, interval=0.05)
    for _ in range(10):
        stream = web.client.capture(rate=100_000)
        next(iter(stream))
        stream.close()  # type: ignore[attr-defined]
        seen = web.lab.traffic.counted(web.vips(), 20, "meanwhile")
        assert seen["errors"] == {}
    result = load.result()
    assert (result["errors"], result["open"]) == ({}, 20)


def test_l4lbctl_writes_drops_alone_to_a_file(web: Balanced, tmp_path: Path) -> None:
    vip, path = web.lab.topology.vip().v4, tmp_path / "drops.pcapng"
    later = threading.Timer(1.5, lambda: web.lab.traffic.counted([vip], 2, "refused", port=81))
    later.start()
    target = web.agent.target
    done = CliRunner().invoke(
        cli, ["-s", target, "capture", "--verdict", "drop", "--reason", "no-service", "--count", "1", "-w", str(path)]
    )
    later.join()
    assert done.exit_code == 0, done.output
    [(data, meta)] = list(RawPcapNgReader(io.BytesIO(path.read_bytes())))
    packet = Ether(data)
    assert (packet[IP].dst, packet[TCP].dport, packet[TCP].flags) == (vip, 81, "S")
    assert b"reason=NO_SERVICE" in b" ".join(meta.comments)


def test_an_agent_that_is_killed_leaves_no_capture_behind(web: Balanced) -> None:
    """The next agent's first capture gets none of its packets, and after a while the datapath looks at none."""
    stream = web.client.capture(verdicts=["drop"])
    next(iter(stream))
    web.agent.kill()
    web.lab.traffic.counted(web.vips(), 20, "gap")
    web.agent.start()
    web.agent.wait_ready(web.client)
    with pytest.raises(l4lb.Error) as refused:
        next(iter(web.client.capture(interface="nowhere")))
    assert refused.value.code == "INVALID_ARGUMENT"
    fresh = web.client.capture(service="web6")
    first = next(iter(fresh))
    assert not first.packets
    web.lab.traffic.counted([web.lab.topology.vip().v6], 1, "fresh")
    packets: list[object] = []
    assert eventually(lambda: bool(packets.extend(next(iter(fresh)).packets) or packets))
    assert all(packet.service == "services/web6" for packet in packets)  # type: ignore[attr-defined]
    assert VERDICT_DROP not in {packet.verdict for packet in packets}  # type: ignore[attr-defined]
