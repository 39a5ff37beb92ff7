"""The packet that `l4lbctl explain` asks about, on the command line: arguments, options, and the fields that they become."""

import ipaddress
import re
from collections.abc import Callable
from typing import Any

import click

KINDS = {"tcp": "tcp", "udp": "udp", "icmp": "echo_request", "arp": "neighbour_request", "ndp": "neighbour_request"}
FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "none")
# type and code of ICMP and ICMPv6
ERRORS = {
    "too-big": ((3, 4), (2, 0)), "port-unreachable": ((3, 3), (1, 4)), "host-unreachable": ((3, 1), (1, 3)),
    "net-unreachable": ((3, 0), (1, 0)), "prohibited": ((3, 13), (1, 1)), "time-exceeded": ((11, 0), (3, 0)),
    "parameter-problem": ((12, 0), (4, 0)),
}  # fmt: skip
IP_OPTIONS = {
    "record-route": "07070400000000", "timestamp": "440c05000000000000000000", "loose-source-route": "83070400000000",
    "strict-source-route": "89070400000000", "router-alert": "94040000",
}  # fmt: skip
TCP_OPTIONS = {"nop": "01", "sack-permitted": "0402", "window-scale": "030307", "timestamps": "080a0000000100000000"}
TAGS = {"0x8100": 0x8100, "0x88a8": 0x88A8}
HEADERS = {
    "hop-by-hop": 0, "routing": 43, "fragment": 44, "authentication": 51, "destination": 60, "mobility": 135, "hip": 139, "shim6": 140,
}  # fmt: skip
TOLD_MTU = 1400
_FAMILIES = {"arp": 4, "ndp": 6}


class Protocol(click.ParamType[str]):
    """One of KINDS, a number, or 0x and four hexadecimal digits."""

    name = "protocol"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is, in lower case."""
        text = str(value).lower()
        number = re.fullmatch(r"[0-9]{1,3}", text)
        if text not in KINDS and not (number and int(text) <= 255) and not re.fullmatch(r"0x[0-9a-f]{1,4}", text):
            self.fail(f"{value!r} is not one of {', '.join(KINDS)}, the number of an IP protocol, or an EtherType like 0x88cc", param, ctx)
        return text


class End(click.ParamType[tuple[str, int]]):
    """ADDRESS:PORT, [IPv6]:PORT, or an address alone."""

    name = "end"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Address and port, 0 without one."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"\[(?P<v6>[^]]+)\](?::(?P<p6>[0-9]{1,5}))?|(?P<v4>[^:]+)(?::(?P<p4>[0-9]{1,5}))?|(?P<bare>.+)", str(value))
        address = match and (match["v6"] or match["v4"] or match["bare"])
        port = int(match and (match["p6"] or match["p4"]) or 0)
        try:
            ipaddress.ip_address(address or "")
        except ValueError:
            self.fail(f"{value!r} is not an end: write it like 192.0.2.1:80, [2001:db8::1]:80, or an address alone", param, ctx)
        if port > 65535:
            self.fail(f"{value!r}: a port is at most 65535", param, ctx)
        return address or "", port


class Flags(click.ParamType[list[str]]):
    """Flags of a segment with | or commas between."""

    name = "flags"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Their names."""
        parts = [part for part in re.split(r"[|,+]", str(value).lower()) if part]
        wrong = [part for part in parts if part not in FLAGS]
        if wrong or not parts or ("none" in parts and len(parts) > 1):
            self.fail(f"{value!r}: flags are some of {', '.join(FLAGS)}, like syn, fin|ack or none alone", param, ctx)
        return parts


class Kind(click.ParamType[str | tuple[int, int]]):
    """Name of an ICMP error, or TYPE/CODE."""

    name = "error"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | tuple[int, int]:
        """The name, or both numbers."""
        text = str(value).lower()
        if text in ERRORS:
            return text
        numbers = re.fullmatch(r"([0-9]{1,3})(?:/([0-9]{1,3}))?", text)
        if numbers is None or max(int(one or 0) for one in numbers.groups()) > 255:
            self.fail(f"{value!r} is not one of {', '.join(ERRORS)}, or TYPE/CODE like 3/13", param, ctx)
        return int(numbers[1]), int(numbers[2] or 0)


class Hex(click.ParamType[bytes]):
    """One of some names, or bytes in hexadecimal digits."""

    name = "hex"

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """The bytes."""
        try:
            return bytes.fromhex(self._names.get(str(value), str(value)))
        except ValueError:
            self.fail(f"{value!r} is not one of {', '.join(self._names)}, or an even number of hexadecimal digits", param, ctx)


class Header(click.ParamType[tuple[int, bytes]]):
    """Name of an extension header, and what it holds."""

    name = "header"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, bytes]:
        """Its number, and the bytes."""
        name, _, data = str(value).partition(":")
        try:
            return HEADERS[name], bytes.fromhex(data)
        except (KeyError, ValueError):
            self.fail(f"{value!r} is not one of {', '.join(HEADERS)}, or one with hexadecimal digits, like routing:0401", param, ctx)


_WORD = click.IntRange(0, 0xFFFFFFFF)
_OPTIONS = (
    click.argument("protocol", type=Protocol(), metavar="PROTOCOL"),
    click.argument("source", type=End(), metavar="[SOURCE[:PORT]]", required=False),
    click.argument("destination", type=End(), metavar="[DESTINATION[:PORT]]", required=False),
    click.option("--flags", type=Flags(), metavar="FLAGS", help="Of TCP, such as syn, fin|ack, or none. [default: syn]"),
    click.option("--if", "interface", default="", metavar="IFACE", help="It comes by. [default: the one towards SOURCE, else the first]"),
    click.option("--seq", "sequence", type=_WORD, default=0, help="TCP sequence number."),
    click.option("--ack", "acknowledgement", type=_WORD, default=0, help="TCP acknowledgement number."),
    click.option("--mss", type=click.IntRange(0, 65535), default=None, help="That a segment asks for. [default: 1460 or 1440 with syn]"),
    click.option(
        "--tcp-option", "tcp_options", type=Hex(TCP_OPTIONS), multiple=True, metavar="NAME|HEX",
        help=f"Of TCP, instead of an MSS; may be repeated: {', '.join(TCP_OPTIONS)}.",
    ),
    click.option("--checksum", type=click.Choice(["wrong", "none"]), default=None, help="Of TCP, UDP or ICMP; none is of UDP."),
    click.option("--ip-checksum-wrong", is_flag=True, help="The IPv4 header's checksum is not what it must be."),
    click.option("--length", "payload_bytes", type=click.IntRange(0, 3400), default=0, help="Bytes after its headers."),
    click.option("--hops", type=click.IntRange(1, 255), default=None, help="TTL or hop limit. [default: 64]"),
    click.option("--may-fragment", is_flag=True, help="Routers may fragment it (IPv4 without DF)."),
    click.option("--fragment", metavar="first|OFFSET", help="It is the first fragment of a datagram, or that after OFFSET bytes."),
    click.option("--last", is_flag=True, help="With --fragment OFFSET: it is the last one."),
    click.option("--id", "identification", type=_WORD, default=0, help="Of its datagram."),
    click.option(
        "--error", type=Kind(), metavar="NAME|TYPE/CODE", help=f"Of icmp, another message than an echo request: {', '.join(ERRORS)}."
    ),
    click.option("--mtu", type=_WORD, default=None, help=f"That the error tells. [default: {TOLD_MTU} of too-big]"),
    click.option("--about", type=(Protocol(), End(), End()), metavar="PROTOCOL SOURCE DESTINATION", help="What the error quotes."),
    click.option("--about-ack", type=_WORD, default=0, help="TCP acknowledgement number in what it quotes."),
    click.option("--about-bytes", type=click.IntRange(1, 3400), default=None, help="Bytes quoted after the IP header. [default: all]"),
    click.option(
        "--ip-option", "ipv4_options", type=Hex(IP_OPTIONS), multiple=True, metavar="NAME|HEX", help=f"IPv4: {', '.join(IP_OPTIONS)}."
    ),
    click.option(
        "--header", "extension_headers", type=Header(), multiple=True, metavar="NAME[:HEX]",
        help=f"IPv6, with what it holds after its length; may be repeated: {', '.join(HEADERS)}.",
    ),
    click.option("--vlan", type=click.IntRange(0, 4094), default=0, help="Tag of its frame."),
    click.option("--priority", "vlan_priority", type=click.IntRange(0, 7), default=0, help="In that tag, or in one without a VLAN."),
    click.option("--service-vlan", type=click.IntRange(0, 4094), default=0, help="A service provider's tag outside of that."),
    click.option("--service-vlan-type", type=click.Choice(list(TAGS)), default=None, help="Of that tag. [default: 0x88a8]"),
    click.option("--frame-length", "frame_bytes", type=click.IntRange(14, 3516), default=None, help="Cuts the frame, or adds zeros."),
    click.option("--from-mac", "source_mac", default="", metavar="MAC", help="Of its sender. [default: the neighbour towards SOURCE]"),
    click.option("--to-mac", "destination_mac", default="", metavar="MAC", help="Whom the frame is for. [default: us]"),
)  # fmt: skip


def packet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """All of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def asked(given: dict[str, Any]) -> dict[str, Any]:
    """What the client's explain() takes. Raises click.UsageError for what does not go together here; the agent knows the rest."""
    protocol, source, destination = (given.pop(name) for name in ("protocol", "source", "destination"))
    fields = _ends(protocol, source, destination) | {"fragment_offset": 0, "more_fragments": False}
    fields["fragment_offset"], fields["more_fragments"] = _fragment(given.pop("fragment"), given.pop("last"))
    message = _message(given, protocol, source)
    if message:
        fields |= {"kind": "icmp", "icmp": message}
    options: dict[str, Any] = {name: b"".join(given.pop(name)) for name in ("ipv4_options", "tcp_options")}
    options |= {"flags": given.pop("flags") or (), "service_vlan_type": TAGS.get(given.pop("service_vlan_type") or "", 0)}
    return fields | options | {name: value for name, value in given.items() if value is not None}


def _ends(protocol: str, source: tuple[str, int] | None, destination: tuple[str, int] | None) -> dict[str, Any]:
    if protocol.startswith("0x"):
        if source:
            raise click.UsageError(f"{protocol}: frames of another EtherType have no SOURCE and no DESTINATION here")
        return {"kind": "ethernet", "ether_type": int(protocol, 16)}
    if source is None or destination is None:
        raise click.UsageError(f"{protocol}: needs {'a DESTINATION' if source else 'SOURCE and DESTINATION'}, like 192.0.2.1:80")
    family = _FAMILIES.get(protocol)
    if family and any(_family(address) != family for address, _ in (source, destination)):
        raise click.UsageError(f"{protocol}: asks about IPv{family} addresses; the other one of arp and ndp does not")
    return _packet(protocol, source, destination)


def _packet(protocol: str, source: tuple[str, int], destination: tuple[str, int]) -> dict[str, Any]:
    ends = {"source": source[0], "source_port": source[1], "destination": destination[0], "destination_port": destination[1]}
    return ends | ({"kind": KINDS[protocol]} if protocol in KINDS else {"kind": "ip", "ip_protocol": int(protocol)})


def _message(given: dict[str, Any], protocol: str, source: tuple[str, int] | None) -> dict[str, Any] | None:
    """The ICMP message, None when it is none or an echo request."""
    error, mtu, about, acknowledgement, size = (given.pop(name) for name in ("error", "mtu", "about", "about_ack", "about_bytes"))
    if error is None:
        for name, value in {"--mtu": mtu, "--about": about, "--about-ack": acknowledgement, "--about-bytes": size}.items():
            if value:
                raise click.UsageError(f"{name}: is of an ICMP error: add --error NAME")
        return None
    if protocol != "icmp" or source is None:
        raise click.UsageError(f"--error: is not of {protocol}, but of icmp")
    if isinstance(error, str) and about is None:
        raise click.UsageError(f"--error {error}: needs --about PROTOCOL SOURCE DESTINATION, the packet that it is about")
    kind, code = ERRORS[error][_family(source[0]) == 6] if isinstance(error, str) else error
    message = {"type": kind, "code": code, "mtu": mtu if mtu is not None else TOLD_MTU if error == "too-big" else 0}
    if about is None:
        return message
    quoted = _packet(*about)
    if quoted["kind"] == "neighbour_request" or about[0].startswith("0x"):
        raise click.UsageError(f"--about {about[0]}: no error is about that; tcp and udp have flows")
    return message | {"quoted": _named(quoted | {"acknowledgement": acknowledgement}), "quoted_bytes": size or 0}


def _named(quoted: dict[str, Any]) -> dict[str, Any]:
    return quoted | {"kind": f"PACKET_KIND_{quoted['kind'].upper()}"}


def _fragment(fragment: str | None, last: bool) -> tuple[int, bool]:
    if fragment is None or fragment == "first":
        if last:
            raise click.UsageError("--last: is of a fragment after others: add --fragment OFFSET")
        return 0, fragment is not None
    if not re.fullmatch("[0-9]{1,5}", fragment) or int(fragment) % 8 or not int(fragment):
        raise click.UsageError(f"--fragment {fragment}: is `first`, or a number of bytes that 8 divides")
    return int(fragment), not last


def _family(address: str) -> int:
    return ipaddress.ip_address(address).version
