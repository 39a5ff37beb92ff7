"""VLANs with the kernel's own VLAN devices on both ends of a wire: what they tag the program balances, what it tags they take."""

import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from scapy.layers.inet import TCP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.model import layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.ways.vlan import Vlan, place
from l4lb_agent.system.network import KernelNetwork
from tests.packet.balancer import Balancer, mac
from tests.packet.conftest import Make
from tests.packet.direct import rewritten
from tests.packet.modes import furnish
from tests.packet.wire import V4, VIP_PORT, Family, built, each_family, from_backend, from_client, to_backend, to_client

CLIENTS, BACKENDS = 7, 9  # VLANs
PASS = bytes([0xB7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])  # return XDP_PASS
ETH_P_ALL = 3


def run(command: str) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def mac_of(name: str) -> str:
    shown = subprocess.run(["ip", "-o", "link", "show", name], capture_output=True, text=True, timeout=30, check=True).stdout
    return shown.split("link/ether ")[1].split()[0]


@dataclass(frozen=True)
class Wire:
    """eth0 is the load balancer's, far0 the others'; both are in CLIENTS and BACKENDS."""

    sockets: dict[int, socket.socket]  # on far0's VLAN devices
    mac: str  # of eth0

    def sent(self, frame: Packet, vlan: int, back: int) -> bytes:
        """Send a frame into one VLAN; what then arrives in another."""
        self.sockets[vlan].send(bytes(frame))
        while True:
            raw, about = self.sockets[back].recvfrom(4096)
            ours = raw[6:12].hex(":") == self.mac and raw[12:14].hex() in ("0800", "86dd", "0806")
            if ours and about[2] != socket.PACKET_OUTGOING and raw[:2] != b"33":  # what eth0's kernel tells its neighbours of itself
                return raw


@pytest.fixture
def wire(alone: set[int]) -> Iterator[Wire]:
    run("ip link add eth0 type veth peer name far0")
    command = "ip link add link far0 name far0.7 type vlan id 7"
    first = subprocess.run(command.split(), capture_output=True, timeout=30, check=False)
    if first.returncode and b"Unknown device type" in first.stderr:
        pytest.skip("this kernel has no VLAN devices")
    for name, vlan in (("far0", BACKENDS), ("eth0", CLIENTS), ("eth0", BACKENDS)):
        run(f"ip link add link {name} name {name}.{vlan} type vlan id {vlan}")
    for name in ("eth0", "far0"):
        run(f"ethtool -K {name} tx off txvlan off rxvlan off")
        run(f"ip link set {name} up")
        for vlan in (CLIENTS, BACKENDS):
            run(f"ip link set {name}.{vlan} up")
    with ExitStack() as stack:
        sockets = {}
        for vlan in (CLIENTS, BACKENDS):
            made = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
            made.bind((f"far0.{vlan}", ETH_P_ALL))
            made.settimeout(20)
            sockets[vlan] = made
        yield Wire(sockets, mac_of("eth0"))


@pytest.fixture
async def network(wire: Wire) -> AsyncIterator[KernelNetwork]:
    made = KernelNetwork()
    yield made
    made.close()


async def attached(make: Make, network: KernelNetwork, mode: str) -> tuple[Balancer, ExitStack]:
    """A balancer on eth0 that knows the VLANs which the kernel tells, with its backends behind BACKENDS."""
    lb, stack = furnish(make, mode), ExitStack()
    passing = stack.enter_context(Fd(syscall.prog_load(PASS, "pass")))
    for name, program in (("far0", passing), ("eth0", lb.generation.program)):
        stack.enter_context(Fd(syscall.link_create(program.fileno(), socket.if_nametoindex(name), syscall.XDP_FLAGS_NATIVE)))
    elements, left = place(await network.vlans())
    assert not left
    for key, value in elements.items():
        lb.write("vlans", key, value)
    lb.configure(flags=layout.CONFIG_VLANS)
    index = socket.if_nametoindex("eth0")
    for number in (1, 4):
        own = bytes.fromhex(mac_of("eth0").replace(":", ""))
        lb.set_backend(number, ifindex=index, vlan=BACKENDS, source_mac=mac(own))
    return lb, stack


def on(frame: Packet, wire: Wire) -> Packet:
    """The frame of a packet test with eth0's MAC in place of the load balancer's."""
    made = frame.copy()
    for field in ("src", "dst"):
        if getattr(made, field) == "02:00:00:00:00:02":
            setattr(made, field, wire.mac)
    return built(made)


@each_family
async def test_dsr_goes_from_one_vlan_into_another(make: Make, wire: Wire, network: KernelNetwork, family: Family) -> None:
    _lb, stack = await attached(make, network, "dsr")
    with stack:
        packet = from_client(family, TCP, b"data", flags="A")
        assert wire.sent(on(packet, wire), CLIENTS, BACKENDS) == bytes(on(rewritten(packet), wire))


@each_family
async def test_nat_goes_there_and_back(make: Make, wire: Wire, network: KernelNetwork, family: Family) -> None:
    _lb, stack = await attached(make, network, "nat")
    with stack:
        expected = to_backend(family, TCP, flags="S", seq=7)
        expected[TCP].dport = VIP_PORT
        del expected[TCP].chksum
        assert wire.sent(on(from_client(family, TCP, flags="S", seq=7), wire), CLIENTS, BACKENDS) == bytes(on(expected, wire))
        answer = from_backend(family, TCP, flags="SA", seq=9, ack=8)
        answer[TCP].sport = VIP_PORT
        del answer[TCP].chksum
        back = to_client(family, TCP, flags="SA", seq=9, ack=8)
        assert wire.sent(on(answer, wire), BACKENDS, CLIENTS) == bytes(on(back, wire))


async def test_who_asks_in_a_vlan_is_answered_there(make: Make, wire: Wire, network: KernelNetwork) -> None:
    lb, stack = await attached(make, network, "nat")
    own = bytes.fromhex(wire.mac.replace(":", ""))
    index = socket.if_nametoindex("eth0")
    lb.write("interfaces", index % layout.INTERFACE_PLACES, bytes(layout.Interface(ifindex=index, mac=mac(own))))
    with stack:
        asked = Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc="02:00:00:00:00:01", psrc=V4.client, pdst=V4.vip)
        answer = Ether(wire.sent(asked, CLIENTS, CLIENTS))
        assert (answer[ARP].op, answer[ARP].psrc, answer[ARP].hwsrc) == (2, V4.vip, wire.mac)


@pytest.mark.parametrize(("address", "prefix"), [("198.18.7", 24), ("fd18:7:", 64)])
async def test_a_next_hop_over_a_vlan_is_its_lower_device_and_tag(
    wire: Wire, network: KernelNetwork, address: str, prefix: int
) -> None:  # fmt: skip
    separator = ":" if ":" in address else "."
    near, far = f"{address}{separator}1", f"{address}{separator}2"
    run(f"ip address add {near}/{prefix} dev eth0.7{' nodad' if prefix == 64 else ''}")
    run(f"ip neigh replace {far} lladdr 02:00:00:00:00:77 dev eth0.7 nud permanent")
    hop = await network.next_hop(Address.parse(far, "far"))
    assert hop is not None
    assert (hop.interface, hop.ifindex, hop.vlan) == ("eth0.7", socket.if_nametoindex("eth0"), CLIENTS)
    assert (hop.destination_mac.hex(":"), hop.mtu, hop.trouble) == ("02:00:00:00:00:77", 1500, "")


async def test_a_way_over_two_or_a_service_provider_s_is_the_device_and_three_are_none(wire: Wire, network: KernelNetwork) -> None:
    run("ip link add link eth0 name provider type vlan proto 802.1ad id 5")
    run("ip link add link provider name stacked type vlan id 6")
    run("ip link add link stacked name third type vlan id 8")
    found = {}
    for number, name in enumerate(("provider", "stacked", "third"), 20):
        run(f"ip link set {name} up")
        run(f"ip address add 198.18.{number}.1/24 dev {name}")
        run(f"ip neigh replace 198.18.{number}.2 lladdr 02:00:00:00:00:77 dev {name} nud permanent")
        hop = await network.next_hop(Address.parse(f"198.18.{number}.2", "far"))
        assert hop is not None
        found[name] = hop
    eth0, far0, provider, stacked = (socket.if_nametoindex(name) for name in ("eth0", "far0", "provider", "stacked"))
    ways = {name: (hop.ifindex, hop.by_device, hop.vlan, hop.outer_vlan, hop.mtu) for name, hop in found.items() if not hop.trouble}
    assert ways == {"provider": (provider, True, 5, 0, 1500), "stacked": (stacked, True, 6, 5, 1496)}
    assert "three tags" in found["third"].trouble
    simple = {Vlan(socket.if_nametoindex(f"{name}.{vlan}"), lower, vlan, mtu=1500) for name, lower in (("eth0", eth0), ("far0", far0))
              for vlan in (CLIENTS, BACKENDS)}  # fmt: skip
    assert await network.vlans() == {*simple, Vlan(provider, eth0, 5, True, 1500), Vlan(stacked, provider, 6, mtu=1500)}


STACKS = [("802.1ad", "802.1Q"), ("802.1Q", "802.1Q")]


@each_family
@pytest.mark.parametrize(("outer", "inner"), STACKS)
async def test_nat_goes_there_and_back_with_two_tags(
    make: Make, wire: Wire, network: KernelNetwork, family: Family, outer: str, inner: str
) -> None:  # fmt: skip
    for end in ("far0", "eth0"):
        run(f"ethtool -K {end} tx-vlan-stag-hw-insert off rx-vlan-stag-hw-parse off")
        run(f"ip link add link {end} name {end}out type vlan proto {outer} id 100")
        run(f"ip link add link {end}out name {end}in type vlan proto {inner} id {BACKENDS}")
        run(f"ip link set {end}out up")
        run(f"ip link set {end}in up")
    lb, stack = await attached(make, network, "nat")
    for number in (1, 4):
        lb.set_backend(number, ifindex=socket.if_nametoindex("eth0in"), vlan=layout.OUT_DEVICE)
    with stack, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as inside:
        inside.bind(("far0in", ETH_P_ALL))
        inside.settimeout(20)
        doubly = Wire({CLIENTS: wire.sockets[CLIENTS], BACKENDS: inside}, wire.mac)
        expected = to_backend(family, TCP, flags="S", seq=7)
        expected[TCP].dport = VIP_PORT
        del expected[TCP].chksum
        assert doubly.sent(on(from_client(family, TCP, flags="S", seq=7), wire), CLIENTS, BACKENDS) == bytes(on(expected, wire))
        answer = from_backend(family, TCP, flags="SA", seq=9, ack=8)
        answer[TCP].sport = VIP_PORT
        del answer[TCP].chksum
        back = to_client(family, TCP, flags="SA", seq=9, ack=8)
        assert doubly.sent(on(answer, wire), BACKENDS, CLIENTS) == bytes(on(back, wire))
