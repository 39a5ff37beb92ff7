"""Packets that are asked about: what a request may say, what the command line makes of its options, what the agent calls what it meets."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from l4lb.cli import base
from l4lb.cli.main import cli
from l4lb.v1 import explain_pb2, service_pb2
from l4lb_agent.api import convert
from l4lb_agent.api.roles import Role
from l4lb_agent.model.address import Address
from l4lb_agent.model.errors import InvalidArgument
from l4lb_agent.model.explain.packet import ACK, CWR, ECE, FIN, SYN
from l4lb_agent.model.explain.synthesis import Checksum, Message, Wanted
from tests.api.conftest import Agent
from tests.api.test_agent import Node, node

__all__ = ["node"]
CLIENT, VIP, ROUTER = (Address.parse(text, "").packed for text in ("192.0.2.1", "10.0.0.1", "198.18.0.254"))
CLIENT6, VIP6 = (Address.parse(text, "").packed for text in ("2001:db8::1", "2001:db8::80"))
SYN4 = {"kind": "PACKET_KIND_TCP", "source": "192.0.2.1", "destination": "10.0.0.1"}
SYN6 = {"kind": "PACKET_KIND_TCP", "source": "2001:db8::1", "destination": "2001:db8::80"}
UDP6, PING = {**SYN6, "kind": "PACKET_KIND_UDP"}, {**SYN4, "kind": "PACKET_KIND_ECHO_REQUEST"}
ICMP, LLDP = {**SYN4, "kind": "PACKET_KIND_ICMP"}, {"kind": "PACKET_KIND_ETHERNET", "ether_type": 0x88CC}
SCTP, ASK = {**SYN4, "kind": "PACKET_KIND_IP"}, {**SYN4, "kind": "PACKET_KIND_NEIGHBOUR_REQUEST"}
BACK = {"kind": "PACKET_KIND_TCP", "source": "10.0.0.1", "destination": "192.0.2.1"}
HEADER = {"kind": 60, "data": bytes(2046)}
# what is wrong, and the field that must be blamed, the message naming it
WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "kind"), ({"kind": "PACKET_KIND_TCP"}, "source"), ({**SYN4, "source": "2001:db8::1"}, "source"),
    ({**SYN4, "source": "fe80::1%eth0"}, "source"), ({**SYN4, "destination": "::ffff:10.0.0.1"}, "destination"),
    ({**SYN4, "destination": "x" * 10000}, "destination"), ({**SYN4, "source_port": 65536}, "source_port"),
    ({**SYN4, "tcp_flags": [0]}, "tcp_flags"), ({**UDP6, "tcp_flags": [2]}, "tcp_flags"), ({**UDP6, "sequence": 1}, "sequence"),
    ({**PING, "destination_port": 80}, "destination_port"), ({**SYN4, "hops": 256}, "hops"), ({**SYN4, "icmp": {}}, "icmp"),
    ({**SYN4, "payload_bytes": 3401}, "payload_bytes"), ({**SYN4, "payload_bytes": 2**32 - 1}, "payload_bytes"),
    ({**SYN4, "fragment_offset": 12}, "fragment_offset"), ({**SYN4, "fragment_offset": 65536}, "fragment_offset"),
    ({**SYN4, "identification": 65536}, "identification"), ({**SYN6, "identification": 7}, "identification"),
    ({**SYN6, "may_fragment": True}, "may_fragment"), ({**SYN6, "ipv4_options": b"\1"}, "ipv4_options"),
    ({**SYN4, "ipv4_options": bytes(41)}, "ipv4_options"), ({**SYN4, "extension_headers": [{"kind": 60}]}, "extension_headers"),
    ({**SYN6, "extension_headers": [{"kind": 6}]}, "extension_headers[0].kind"),
    ({**SYN6, "extension_headers": [{"kind": 60}, {"kind": 44, "data": b"1"}]}, "extension_headers[1].data"),
    ({**SYN6, "extension_headers": [{"kind": 60, "data": bytes(2047)}]}, "extension_headers[0].data"),
    ({**SYN6, "extension_headers": [{"kind": 51, "data": bytes(1019)}]}, "extension_headers[0].data"),
    ({**SYN6, "extension_headers": [{"kind": 60}] * 17}, "extension_headers"),
    ({**SYN6, "extension_headers": [HEADER, HEADER]}, "extension_headers"),
    ({**SYN6, "extension_headers": [HEADER], "payload_bytes": 2000}, "payload_bytes"),
    ({**SYN4, "vlan": 4095}, "vlan"), ({**SYN4, "vlan_priority": 8}, "vlan_priority"), ({**SYN4, "service_vlan": 4095}, "service_vlan"),
    ({**SYN4, "frame_bytes": 13}, "frame_bytes"), ({**SYN4, "frame_bytes": 3517}, "frame_bytes"),
    ({**SYN4, "source_mac": "02:00:00:00:00"}, "source_mac"), ({**SYN4, "destination_mac": "02-00-00-00-00-01"}, "destination_mac"),
    ({**SYN4, "tcp_flags": [7, 5]}, "tcp_flags"), ({**SYN4, "mss": 65536}, "mss"), ({**UDP6, "mss": 0}, "mss"),
    ({**SYN4, "mss": 0, "tcp_options": b"\1"}, "mss"), ({**SYN4, "tcp_options": bytes(41)}, "tcp_options"),
    ({**PING, "tcp_options": b"\1"}, "tcp_options"), ({**SYN6, "ip_checksum_wrong": True}, "ip_checksum_wrong"),
    ({**SYN4, "checksum": 2}, "checksum"), ({**SYN4, "checksum": 3}, "checksum"), ({**SCTP, "ip_protocol": 132, "checksum": 1}, "checksum"),
    ({**UDP6, "checksum": 1, "fragment_offset": 8}, "checksum"), ({**SYN4, "service_vlan_type": 0x8100}, "service_vlan_type"),
    ({**SYN4, "service_vlan": 7, "service_vlan_type": 0x9100}, "service_vlan_type"),
    ({**ICMP, "icmp": {"quoted": {**BACK, "tcp_flags": [7, 2]}}}, "icmp.quoted.tcp_flags"),
    (ICMP, "icmp"), ({**ICMP, "icmp": {"type": 256}}, "icmp.type"), ({**ICMP, "icmp": {"code": 256}}, "icmp.code"),
    ({**ICMP, "icmp": {"type": 3, "quoted_bytes": 8}}, "icmp.quoted_bytes"),
    ({**ICMP, "icmp": {"type": 3, "quoted": {}}}, "icmp.quoted.kind"), ({**ICMP, "icmp": {"quoted": ICMP}}, "icmp.quoted.kind"),
    ({**ICMP, "icmp": {"quoted": {**BACK, "vlan": 7}}}, "icmp.quoted.vlan"), ({**ICMP, "icmp": {"quoted": SYN6}}, "icmp.quoted.source"),
    ({**ICMP, "icmp": {"quoted": BACK}, "payload_bytes": 1}, "payload_bytes"),
    ({**ICMP, "icmp": {"quoted": {**BACK, "payload_bytes": 3400, "ipv4_options": bytes(40)}}}, "icmp"),
    (SCTP, "ip_protocol"), ({**SCTP, "ip_protocol": 256}, "ip_protocol"), ({**SCTP, "ip_protocol": 17}, "ip_protocol"),
    ({**SYN6, "kind": "PACKET_KIND_IP", "ip_protocol": 44}, "ip_protocol"), ({**SYN4, "ip_protocol": 6}, "ip_protocol"),
    ({"kind": "PACKET_KIND_ETHERNET"}, "ether_type"), ({**LLDP, "ether_type": 0x0800}, "ether_type"),
    ({**LLDP, "ether_type": 0x8100}, "ether_type"), ({**LLDP, "ether_type": 65536}, "ether_type"), ({**LLDP, "hops": 3}, "hops"),
    ({**LLDP, "source": "192.0.2.1"}, "source"), ({**ASK, "payload_bytes": 3}, "payload_bytes"), ({**ASK, "hops": 255}, "hops"),
]  # fmt: skip


def asked(**packet: Any) -> Wanted:
    return convert.asked(service_pb2.ExplainRequest(packet=explain_pb2.AskedPacket(**packet)))[0]


@pytest.mark.parametrize(("packet", "field"), WRONG, ids=[f"{number} {field}" for number, (_, field) in enumerate(WRONG)])
def test_what_no_packet_has_is_refused_with_its_field(packet: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        asked(**packet)
    assert refused.value.field == f"packet.{field}"
    assert f"packet.{field}" in str(refused.value)


# command line -> what the agent is asked
LINES: list[tuple[str, Wanted]] = [
    ("tcp 192.0.2.1:4000 10.0.0.1:80 --flags fin|ack --seq 7 --ack 8",
     Wanted(6, CLIENT, VIP, 4000, 80, FIN | ACK, 7, 8)),
    ("udp [2001:db8::1]:4000 [2001:db8::80]:53 --fragment 1448 --id 9 --last --length 8",
     Wanted(17, CLIENT6, VIP6, 4000, 53, SYN, payload=8, offset=1448, identification=9)),
    ("icmp 198.18.0.254 10.0.0.1 --error too-big --about tcp 10.0.0.1:80 192.0.2.1:4000 --about-ack 5",
     Wanted(1, ROUTER, VIP, message=Message(3, 4, 1400, Wanted(6, VIP, CLIENT, 80, 4000, acknowledgement=5)))),
    ("icmp 2001:db8::1 2001:db8::80 --error port-unreachable --about udp [2001:db8::80]:53 [2001:db8::1]:4000 --about-bytes 8",
     Wanted(58, CLIENT6, VIP6, message=Message(1, 4, 0, Wanted(17, VIP6, CLIENT6, 53, 4000), 8))),
    ("icmp 192.0.2.1 10.0.0.1 --error 5/1 --length 28", Wanted(1, CLIENT, VIP, payload=28, message=Message(5, 1))),
    ("arp 192.0.2.1 10.0.0.1 --to-mac 02:00:00:00:00:02",
     Wanted(1, CLIENT, VIP, asks_mac=True, destination_mac=bytes.fromhex("020000000002"))),
    ("ndp 2001:db8::1 2001:db8::80", Wanted(58, CLIENT6, VIP6, asks_mac=True)),
    ("132 192.0.2.1 10.0.0.1 --hops 9 --may-fragment", Wanted(132, CLIENT, VIP, ttl=9, may_fragment=True)),
    ("0x88CC --priority 3 --service-vlan 7 --frame-length 60",
     Wanted(0, bytes(16), bytes(16), ether_type=0x88CC, priority=3, service_vlan=7, size=60)),
    ("tcp 192.0.2.1:1 10.0.0.1:80 --ip-option router-alert --ip-option 01",
     Wanted(6, CLIENT, VIP, 1, 80, ipv4_options=b"\x94\4\0\0\1")),
    ("tcp [2001:db8::1]:1 [2001:db8::80]:80 --header hop-by-hop --header fragment --header routing:0401 --fragment first",
     Wanted(6, CLIENT6, VIP6, 1, 80, more=True, headers=((0, b""), (44, b""), (43, b"\4\1")))),
    ("tcp 192.0.2.1:1 10.0.0.1:80 --flags none --ip-checksum-wrong", Wanted(6, CLIENT, VIP, 1, 80, 0, ip_checksum=Checksum.WRONG)),
    ("tcp 192.0.2.1:1 10.0.0.1:80 --flags syn|ece|cwr --mss 0 --checksum wrong",
     Wanted(6, CLIENT, VIP, 1, 80, SYN | ECE | CWR, mss=0, checksum=Checksum.WRONG)),
    ("tcp 192.0.2.1:1 10.0.0.1:80 --tcp-option nop --tcp-option window-scale --service-vlan 9 --service-vlan-type 0x8100 --vlan 7",
     Wanted(6, CLIENT, VIP, 1, 80, tcp_options=b"\1\3\3\7", vlan=7, service_vlan=9, service_type=0x8100)),
    ("udp [2001:db8::1]:4000 [2001:db8::80]:53 --checksum none", Wanted(17, CLIENT6, VIP6, 4000, 53, checksum=Checksum.NONE)),
]  # fmt: skip


@pytest.mark.parametrize(("line", "wanted"), LINES, ids=[line.split()[0] + str(number) for number, (line, _) in enumerate(LINES)])
def test_the_command_line_asks_for_what_it_says(agent: Agent, line: str, wanted: Wanted) -> None:
    result = CliRunner().invoke(cli, ["-s", agent.target, "explain", *line.split()])
    assert result.exit_code in (0, base.EXIT_DISAGREED), result.output  # the program of the test passes all as FOREIGN
    assert agent.control.explained == [wanted]


def test_a_viewer_may_ask(start_agent: Callable[..., Agent]) -> None:
    agent = start_agent(Role.VIEWER)
    result = CliRunner().invoke(cli, ["-s", agent.target, "explain", "tcp", "192.0.2.1:4000", "10.0.0.1:80"])
    assert result.exit_code == 0, result.output
    assert len(agent.control.explained) == 1


def test_what_has_no_addresses_is_shown_by_its_type(agent: Agent) -> None:
    def shown(line: str, number: int = 0) -> str:
        return CliRunner().invoke(cli, ["-s", agent.target, "explain", *line.split()]).output.splitlines()[number]

    assert shown("0x88cc --service-vlan 7") == "comes by eth0: EtherType 0x88cc"
    assert shown("arp 192.0.2.1 10.0.0.1") == "comes by eth0: ARP 192.0.2.1 -> 10.0.0.1"
    assert shown("tcp 192.0.2.1:1 10.0.0.1:80 --vlan 7 --service-vlan 9", 1).endswith(", VLAN 7, a provider's VLAN 9, 66 bytes")
    assert shown("tcp 192.0.2.1:1 10.0.0.1:80 --vlan 7 --service-vlan 9 --service-vlan-type 0x8100", 1).endswith(
        ", VLAN 7, within VLAN 9, 66 bytes"
    )
    assert shown("132 192.0.2.1 10.0.0.1") == "comes by eth0: protocol 132 192.0.2.1 -> 10.0.0.1"


@pytest.mark.parametrize(
    "line",
    [
        "tcp", "tcp 192.0.2.1:1", "stp 192.0.2.1 10.0.0.1", "256 192.0.2.1 10.0.0.1", "0x1ffff", "0x88cc 192.0.2.1 10.0.0.1",
        "arp 2001:db8::1 2001:db8::2", "ndp 192.0.2.1 10.0.0.1", "tcp 192.0.2.1:1 10.0.0.1:80 --last",
        "tcp 192.0.2.1:1 10.0.0.1:80 --fragment first --last", "tcp 192.0.2.1:1 10.0.0.1:80 --fragment ²",
        "tcp 192.0.2.1:١ 10.0.0.1:80", "tcp 192.0.2.1:1 10.0.0.1:80 --error too-big --about tcp 10.0.0.1:80 192.0.2.1:1",
        "icmp 192.0.2.1 10.0.0.1 --error too-big", "icmp 192.0.2.1 10.0.0.1 --error 300/1", "icmp 192.0.2.1 10.0.0.1 --mtu 1400",
        "icmp 192.0.2.1 10.0.0.1 --about tcp 10.0.0.1:80 192.0.2.1:1", "icmp 192.0.2.1 10.0.0.1 --error 3/1 --about arp 10.0.0.1 192.0.2.1",
        "tcp 192.0.2.1:1 10.0.0.1:80 --flags none|ack", "tcp 192.0.2.1:1 10.0.0.1:80 --mss 65536",
        "tcp 192.0.2.1:1 10.0.0.1:80 --tcp-option 123", "tcp 192.0.2.1:1 10.0.0.1:80 --checksum right",
        "tcp 192.0.2.1:1 10.0.0.1:80 --ip-option 123", "tcp 192.0.2.1:1 10.0.0.1:80 --header ipsec",
    ],
)  # fmt: skip
def test_lines_that_say_no_packet_are_wrong_usage(agent: Agent, line: str) -> None:
    result = CliRunner().invoke(cli, ["-s", agent.target, "explain", *line.split()])
    assert result.exit_code == base.EXIT_USAGE, result.output
    assert agent.control.explained == []


async def test_lists_are_called_what_they_were_named(node: Node) -> None:
    async with node.running() as lb:
        await lb.create_list("offices", prefixes=["192.0.2.0/24"])
        await lb.create_list("bad", prefixes=["192.0.2.0/28"])
        await lb.create_service("web", vip="10.0.0.1", port=80, ring_size=1021, allow_list="offices", deny_list="bad")
        made = await lb.explain("tcp", "192.0.2.1", "10.0.0.1", destination_port=80)
        [step] = [step for step in made.steps if step.name == "lists"]
        assert (step.evidence["allow_list"], step.evidence["deny_list"]) == ("lists/offices", "lists/bad")
