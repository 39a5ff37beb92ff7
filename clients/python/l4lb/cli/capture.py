"""l4lbctl capture: packets as they came and as they left, on the terminal or as a pcapng file."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import click

from l4lb.cli.base import DURATION, SERVICE, Session, output_option

if TYPE_CHECKING:
    from l4lb.pcapng import Writer
    from l4lb.v1.capture_pb2 import CapturedPacket


@click.command()
@click.option("--reason", "reasons", multiple=True, help="Only packets that ended so, like no-service; may be repeated.")
@click.option("--verdict", "verdicts", multiple=True, type=click.Choice(("drop", "pass", "tx", "redirect")), help="May be repeated.")
@click.option("--service", type=SERVICE, help="Only packets of this virtual service, in both directions.")
@click.option("--prefix", default="", help="Source or destination as it comes: an address or a prefix.")
@click.option("--port", type=click.IntRange(1, 65535), default=None, help="Source or destination port as it comes.")
@click.option("--protocol", type=click.Choice(("tcp", "udp")), default=None)
@click.option("--interface", default="", help="Where it comes in.")
@click.option("--snaplen", type=click.IntRange(14, 2048), default=None, help="Bytes of each frame.  [default: 256]")
@click.option("--rate", type=click.IntRange(1, 100_000), default=None, help="Packets a second for each reason and CPU.  [default: 1000]")
@click.option("--for", "seconds", type=DURATION, help="End after this time; without it, never.")
@click.option("--count", type=click.IntRange(1), default=None, help="End after so many packets.")
@click.option(
    "-w", "--write", "path", type=click.Path(dir_okay=False, allow_dash=True), help="Write pcapng to this file; - is standard output."
)
@output_option
@click.pass_obj
def capture(
    session: Session, /, reasons: tuple[str, ...], verdicts: tuple[str, ...], service: str | None, prefix: str, port: int | None,
    protocol: str | None, interface: str, snaplen: int | None, rate: int | None, seconds: float | None, count: int | None,
    path: str | None,
) -> None:  # fmt: skip
    """Show packets as they came and as they left, with verdict, reason, service and backend. No packet is delayed or lost by it.

    checksum=unfinished: the sender left it to a card that there is not (`ethtool -K INTERFACE tx off` at the other end of a veth); what is
    rewritten in such packets is thrown away by backends. checksum=wrong: it was damaged on its way, or nobody made it.
    """
    from l4lb.errors import Error

    try:
        stream = session.client.capture(
            timeout=seconds, reasons=reasons, verdicts=verdicts, service=service or "", prefix=prefix, port=port or 0,
            protocol=protocol or "", interface=interface, snap_bytes=snaplen or 0, rate=rate or 0, packets=count or 0,
        )  # fmt: skip
    except ValueError as error:
        raise click.UsageError(f"--reason: {error}") from None
    seen, limited, lost = 0, 0, 0
    try:
        with contextlib.suppress(KeyboardInterrupt), _output(path) as out:
            for number, message in enumerate(stream):
                if not number:
                    click.echo("capturing", err=True)
                for packet in message.packets:
                    _show(session, packet, out)
                seen, limited, lost = seen + len(message.packets), message.limited_packets, message.lost_packets
    except Error as error:
        if seconds is None or error.code != "DEADLINE_EXCEEDED":
            raise
    click.echo(f"{seen} packets captured; {limited} more were beyond the rate, {lost} found no room", err=True)


@contextlib.contextmanager
def _output(path: str | None) -> "Iterator[tuple[BinaryIO, Writer] | None]":
    if path is None:
        yield None
        return
    from l4lb.pcapng import Writer

    with contextlib.ExitStack() as files:
        out = sys.stdout.buffer if path == "-" else files.enter_context(open(path, "wb"))
        writer = Writer(out)
        out.flush()
        try:
            yield out, writer
        finally:
            writer.end()
            out.flush()


def _show(session: Session, packet: "CapturedPacket", out: "tuple[BinaryIO, Writer] | None") -> None:
    from l4lb import pcapng
    from l4lb.cli import render

    if out is not None:
        out[1].write(packet)
        out[0].flush()
    elif not render.structured(session, render.as_dict(packet), stream=True):
        when = packet.time.seconds + packet.time.nanos / 1e9
        stamp = time.strftime("%H:%M:%S", time.gmtime(when)) + f".{int(when % 1 * 1e6):06d}"
        click.echo(f"{stamp} {packet.interface or '?'}  {frame(packet.received)}  {packet.received_bytes} bytes  {pcapng.comment(packet)}")


def frame(data: bytes) -> str:
    """The ends of a frame's packet, in short."""
    import ipaddress

    from l4lb.cli import render

    kind = int.from_bytes(data[12:14], "big")
    if kind == 0x0800 and len(data) >= 34:
        source, destination, protocol, rest = data[26:30], data[30:34], data[23], data[14 + 4 * (data[14] & 15) :]
    elif kind == 0x86DD and len(data) >= 54:
        source, destination, protocol, rest = data[22:38], data[38:54], data[20], data[54:]
    else:
        return f"ethertype {kind:#06x}"
    ends = [ipaddress.ip_address(source), ipaddress.ip_address(destination)]
    name = render.PROTOCOLS.get(protocol, f"protocol {protocol}")
    if protocol not in (6, 17) or len(rest) < 4:
        return f"{name} {ends[0]} > {ends[1]}"
    ports = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
    text = " > ".join(render.endpoint(str(end), port) for end, port in zip(ends, ports))
    flags = "".join(letter for bit, letter in enumerate("FSRPAUEC") if protocol == 6 and len(rest) >= 14 and rest[13] >> bit & 1)
    return f"{name} {text}{' ' + flags if flags else ''}"
