"""What a veth pair needs so that native XDP on one end sees and sends what a network card would: the other end's settings.

Packets between veths carry unfinished checksums (the kernel expects the card to fill them in). XDP does not see that mark, and a packet
rewritten and sent by it arrives broken. A card hands over finished packets; so does a veth whose sender side has `tx` offload off. It is
enough at the port of the switch that faces the load balancer: clients and backends stay untouched.

XDP_TX on a veth delivers only when the other end runs a native XDP program too; one that passes everything will do. Redirecting a packet to
the interface it came from needs only GRO on the other end.
"""

import enum
import socket
from pathlib import Path
from typing import Final

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from lab import netns

# r0 = XDP_PASS (2); exit
PASS: Final = bytes([0xB7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])


class Peer(enum.Enum):
    """What sits on the switch's port that faces the load balancer."""

    PROGRAM = "XDP_PASS program"  # for native XDP_TX
    GRO = "GRO"  # for native redirect to the interface of arrival


def prepare(switch: str, port: str, peer: Peer, bpffs: Path) -> str:
    """Set up `port` in namespace `switch`; the link of its program is pinned in `bpffs` and ends with that mount. Returns what was done, in
    words. Raises CommandFailed or OSError."""
    netns.run(netns.entering(switch, ["ethtool", "-K", port, "tx", "off", "gro", "on" if peer is Peer.GRO else "off"]))
    if peer is Peer.GRO:
        return f"switch port `{port}`: transmit checksum offload off, GRO on"
    with Fd(syscall.prog_load(PASS, "lab_pass")) as program:

        def attach() -> None:
            index = socket.if_nametoindex(port)
            with Fd(syscall.link_create(program.fileno(), index, syscall.XDP_FLAGS_NATIVE)) as link:
                syscall.obj_pin(link.fileno(), bpffs / f"lab_peer_{port}")

        netns.inside(switch, attach)
    return f"switch port `{port}`: transmit checksum offload off, native XDP_PASS program (veth delivers XDP_TX only then)"


def write_tags(switch: str, port: str) -> None:
    """Let tags stand in the frames that leave by `port`, and be taken out of those that come. Raises CommandFailed."""
    service = ("tx-vlan-stag-hw-insert", "off", "rx-vlan-stag-hw-parse", "off")  # of 802.1ad
    netns.run(netns.entering(switch, ["ethtool", "-K", port, "txvlan", "off", "rxvlan", "off", *service]))


def finish_checksums(switch: str, port: str) -> None:
    """Let who is behind `port` get finished packets only, as from a card: checksums that can be verified. Raises CommandFailed."""
    netns.run(netns.entering(switch, ["ethtool", "-K", port, "tx", "off"]))
