"""What neighbours hear of an address."""

import errno
import ipaddress
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from l4lb_agent.dataplane import announce, device
from l4lb_agent.dataplane.kernel import KernelDatapath
from l4lb_agent.model import mapspec
from l4lb_agent.model.address import Address
from tests.kernel.conftest import Pair
from tests.kernel.trivial import Trivial

SIZES = mapspec.Sizes(services=4, backends=8, addresses=8, flows=64, rings_1021=1, rings_4093=1, rings_16381=1, rings_65537=1)


def address(text: str) -> Address:
    return Address.parse(text, "test")


@pytest.fixture
def datapath(inside: Pair, bpffs: Path) -> Iterator[KernelDatapath]:
    made = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    yield made
    made.close()


def heard(pair: Pair, text: str, announce_again: Callable[[], None]) -> bool:
    """True once the peer has the LB's MAC for an address. Announced again until then: IPv6 on a link that just came up hears nothing."""
    mac = pair.ip(pair.lb, "link", "show", "eth0").split("link/ether ")[1].split()[0]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        announce_again()
        time.sleep(0.1)
        if f"lladdr {mac}" in pair.ip(pair.peer, "neigh", "show", text):
            return True
    return False


@pytest.mark.parametrize("text", ["192.0.2.99", "2001:db8::99"])
def test_a_neighbour_that_knew_another_mac_learns_the_new_one(datapath: KernelDatapath, inside: Pair, text: str) -> None:
    inside.ip(inside.peer, "neigh", "add", text, "lladdr", "02:00:00:00:00:77", "dev", "eth0", "nud", "stale")
    assert heard(inside, text, lambda: datapath.announce(address(text), ["eth0"]))


def test_the_device_listens_to_the_group_while_any_address_needs_it(datapath: KernelDatapath, inside: Pair) -> None:
    def listens() -> bool:
        shown = inside.ip(inside.lb, "maddress", "show", "dev", "eth0")
        assert ("33:33:ff:cd:12:34" in shown) == ("inet6 ff02::1:ffcd:1234" in shown), "by the card, and reported to switches"
        return "33:33:ff:cd:12:34" in shown

    one, other = address("2001:db8:1::cd:1234"), address("2001:db8:2::cd:1234")
    for each in (one, other, one):
        datapath.announce(each, ["eth0"])
    assert listens()
    datapath.withdraw(one, ["eth0"])
    assert listens()
    datapath.withdraw(other, ["eth0"])
    assert not listens()
    datapath.withdraw(other, ["eth0"])


def test_groups_are_reported_anew_on_a_device_that_was_replaced(datapath: KernelDatapath, inside: Pair) -> None:
    def reported() -> bool:
        return "inet6 ff02::1:ff00:99" in inside.ip(inside.lb, "maddress", "show", "dev", "v0")

    for _ in range(2):
        inside.ip(inside.lb, "link", "add", "v0", "up", "type", "veth", "peer", "name", "v1")
        inside.ip(inside.lb, "link", "set", "v1", "up")
        datapath.announce(address("2001:db8::99"), ["v0"])
        assert reported()
        inside.ip(inside.lb, "link", "delete", "v0")


def test_more_groups_than_one_socket_takes_are_reported(datapath: KernelDatapath, inside: Pair) -> None:
    groups = announce.Groups()
    eth0 = device.find("eth0")
    for number in range(3000):
        groups.join(address(f"2001:db8::1:{number:x}"), eth0)
    assert inside.ip(inside.lb, "maddress", "show", "dev", "eth0").count("inet6 ff02::1:ff01:") == 3000
    groups.close()
    shown = inside.ip(inside.lb, "maddress", "show", "dev", "eth0")
    assert "ff02::1:ff01:" not in shown
    assert shown.count("33:33:ff:01:") == 3000, "the card goes on listening"


def test_other_interfaces_are_told_even_when_one_is_missing(datapath: KernelDatapath, inside: Pair) -> None:
    inside.ip(inside.peer, "neigh", "add", "192.0.2.99", "lladdr", "02:00:00:00:00:77", "dev", "eth0", "nud", "stale")

    def announce_with_one_missing() -> None:
        with pytest.raises(OSError, match="interface missing0: does not exist") as caught:
            datapath.announce(address("192.0.2.99"), ["missing0", "lo", "eth0"])
        assert caught.value.errno == errno.ENODEV

    assert heard(inside, "192.0.2.99", announce_with_one_missing)


def test_a_device_without_carrier_is_an_error_that_says_so(datapath: KernelDatapath, inside: Pair) -> None:
    inside.ip(inside.peer, "link", "set", "eth0", "down")
    with pytest.raises(OSError, match="announce 192.0.2.99 on eth0") as caught:
        datapath.announce(address("192.0.2.99"), ["eth0"])
    assert caught.value.errno == errno.ENETDOWN


def test_the_frames_are_those_of_the_standards() -> None:
    from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
    from scapy.layers.l2 import ARP, Ether

    mac = bytes.fromhex("020000000042")
    arp = Ether(src="02:00:00:00:00:42", dst="ff:ff:ff:ff:ff:ff")
    arp /= ARP(op=1, hwsrc="02:00:00:00:00:42", psrc="192.0.2.9", hwdst="00:00:00:00:00:00", pdst="192.0.2.9")
    assert announce.frame(address("192.0.2.9"), mac) == bytes(arp)
    na = Ether(src="02:00:00:00:00:42", dst="33:33:00:00:00:01") / IPv6(src="2001:db8::9", dst="ff02::1", hlim=255)
    na /= ICMPv6ND_NA(R=0, S=0, O=1, tgt="2001:db8::9") / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:42")
    assert announce.frame(address("2001:db8::9"), mac) == bytes(na)
    packed = ipaddress.IPv6Address("2001:db8::aa:bbcc").packed
    assert announce.solicited_node(Address(packed)) == bytes.fromhex("3333ffaabbcc")
