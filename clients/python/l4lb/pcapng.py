"""Captured packets as a pcapng file (draft-ietf-opsawg-pcapng): each frame as it came, inbound, and as it left, outbound, with what the
datapath made of it as the comment."""

from typing import BinaryIO, Final

from pcapng import FileWriter, blocks

from l4lb import checksum, names
from l4lb.v1 import reason_pb2
from l4lb.v1.capture_pb2 import CapturedPacket

_ETHERNET: Final = 1
_NANOSECONDS: Final = bytes([9])
_INBOUND, _OUTBOUND = 1, 2


def comment(packet: CapturedPacket) -> str:
    """What became of a packet, as key=value."""
    known = {
        "verdict": reason_pb2.Verdict.Name(packet.verdict).removeprefix("VERDICT_"),
        "reason": reason_pb2.Reason.Name(packet.reason).removeprefix("REASON_"),
        "service": names.short(packet.service) if packet.service else "",
        "backend": names.short(packet.backend) if packet.backend else "",
        "checksum": checksum.fault(packet.received),
    }
    return " ".join(f"{key}={value}" for key, value in known.items() if value)


class Writer:
    """Writes to `out`, which is flushed after each packet by who reads it live."""

    def __init__(self, out: BinaryIO) -> None:
        self._section = blocks.SectionHeader(options={"shb_userappl": "l4lbctl"})
        self._writer = FileWriter(out, self._section)
        self._interfaces: dict[str, int] = {}

    def write(self, packet: CapturedPacket) -> None:
        """One packet: a block as it came, and one as it left, unless it was dropped or passed."""
        interface = self._interface(packet.interface)
        nanoseconds = packet.time.seconds * 1_000_000_000 + packet.time.nanos
        self._block(interface, nanoseconds, packet.received, packet.received_bytes, _INBOUND, comment(packet))
        if packet.sent_bytes and packet.verdict != reason_pb2.VERDICT_PASS:
            self._block(interface, nanoseconds, packet.sent, packet.sent_bytes, _OUTBOUND, comment(packet))

    def end(self) -> None:
        """No more packets come. tcpdump reads no file without an interface, so one without packets gets one too."""
        if not self._interfaces:
            self._interface("")

    def _interface(self, name: str) -> int:
        if name not in self._interfaces:
            self._interfaces[name] = len(self._interfaces)
            options = {"if_name": name or "unknown", "if_tsresol": _NANOSECONDS}
            self._writer.write_block(self._section.new_member(blocks.InterfaceDescription, link_type=_ETHERNET, snaplen=0, options=options))
        return self._interfaces[name]

    def _block(self, interface: int, nanoseconds: int, data: bytes, whole: int, direction: int, text: str) -> None:
        high, low = divmod(nanoseconds, 1 << 32)
        block = self._section.new_member(
            blocks.EnhancedPacket, interface_id=interface, timestamp_high=high, timestamp_low=low, packet_len=whole, packet_data=data,
            options={"opt_comment": text, "epb_flags": direction},
        )  # fmt: skip
        self._writer.write_block(block)
