"""Frames that really cross a veth: a generator in `far` sends them to `lb`, what sends them back is measured, a sink in `far` counts them.

Generator, load balancer and sink share one CPU (the receiving end of a veth runs inside the sender's call), so a rate is that of the whole
chain: compare rows. Method: BPF_F_TEST_XDP_LIVE_FRAMES (Linux 5.18).
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench import traffic
from bench.figures import LiveFigures, Spread
from bench.rig import Rig, Void
from bench.traffic import V4, Packet
from l4lb_agent.dataplane import device, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.model.reasons import Reason, Verdict
from lab import netns

_LOST = 0.001  # share of the frames that may go missing before a run is void
_SETTLE_SECONDS = 2.0
_WARM_FRAMES = 10_000
_ATTEMPTS = 4
FORWARDED = (Reason.TO_BACKEND, Verdict.TX)
NFT_FLOWS = 1024  # under every default of nf_conntrack_max


@dataclass(frozen=True)
class Row:
    """What is measured: `way` puts it into place."""

    name: str
    flows: int
    frames: int
    way: Callable[[], contextlib.AbstractContextManager[None]]
    ours: bool = False


@contextlib.contextmanager
def _attached(program: Fd, namespace: str) -> Iterator[None]:
    """A native XDP program on a namespace's eth0."""

    def attach() -> Fd:
        return Fd(syscall.link_create(program.fileno(), device.find("eth0").ifindex, syscall.XDP_FLAGS_NATIVE))

    with netns.inside(namespace, attach):
        yield


@contextlib.contextmanager
def _nftables(namespace: str, nft: Sequence[str]) -> Iterator[None]:
    """The kernel's own stack as a balancer that translates both addresses, as ours does. Raises CommandFailed when it cannot."""
    netns.run(netns.entering(namespace, ["ethtool", "-K", "eth0", "gro", "on"]))  # without it and without XDP nothing takes the frames
    backends = ", ".join(f"{i} : {address}" for i, address in enumerate(V4.backends))
    service = f"ip daddr {V4.vip} tcp dport {traffic.SERVICE_PORT}"
    rules = f"""table ip balancer {{
        chain to_backend {{
            type nat hook prerouting priority dstnat
            {service} dnat to jhash ip saddr . tcp sport mod {len(V4.backends)} map {{ {backends} }}
        }}
        chain from_us {{
            type nat hook postrouting priority srcnat
            snat to {V4.snats[0]}-{V4.snats[-1]}
        }}
    }}"""
    netns.run(netns.entering(namespace, [*nft, "-f", "-"]), text=rules)
    # The generator's transport checksums are not right, and XDP does not look at them either.
    netns.set_sysctls(namespace, {"netfilter/nf_conntrack_checksum": "0"})
    try:
        yield
    finally:
        netns.run(netns.entering(namespace, [*nft, "delete", "table", "ip", "balancer"]))


def _send(rig: Rig, far: str, flows: int, frames: int) -> tuple[float, int]:
    """Seconds that sending took, and how many of the frames came back."""
    frame = rig.prepare(Packet(V4), flows, seed=1 if flows > 1 else None)
    before = rig.arrived()

    def send() -> float:
        ifindex = device.find("eth0").ifindex
        start = time.monotonic()
        syscall.prog_test_run(rig.programs["generator"].fileno(), frame, ifindex=ifindex, repeat=frames, live=True)
        return time.monotonic() - start

    seconds = netns.inside(far, send)
    deadline = time.monotonic() + _SETTLE_SECONDS
    while rig.arrived() - before < frames and time.monotonic() < deadline:
        time.sleep(0.01)
    return seconds, rig.arrived() - before


def _rate(rig: Rig, far: str, row: Row) -> float:
    """Mpps of one run. Raises Void when frames are missing, or were not balanced by us when they should have been."""
    # Caches are cold, and of a batch that creates one connection conntrack drops all but the first packet: that run does not count.
    _send(rig, far, row.flows, min(row.frames, _WARM_FRAMES))
    before = rig.counts()
    seconds, came = _send(rig, far, row.flows, row.frames)
    if row.frames - came > _LOST * row.frames:
        raise Void(f"{row.name}: {row.frames - came} of {row.frames} frames with {row.flows} flows did not come back")
    balanced = rig.counts().get(FORWARDED, 0) - before.get(FORWARDED, 0)
    if row.ours and row.frames - balanced > _LOST * row.frames:
        raise Void(f"{row.name}: {balanced} of {row.frames} frames were counted as {FORWARDED[0].name}/{FORWARDED[1].name}")
    return row.frames / seconds / 1e6


def _valid_rate(rig: Rig, far: str, row: Row) -> float:
    """Of the first run that counts: on a busy machine the receiving end may be too late for its ring of 256 frames."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(Void):
            return _rate(rig, far, row)
    return _rate(rig, far, row)


def live(rig: Rig, lb: str, far: str, flows: Sequence[int], frames: int, rounds: int, nft: Sequence[str]) -> list[LiveFigures]:
    """Rows of the bare program that sends back, of the datapath (whose flows must be established), and with `nft` (the command; empty:
    left out) of an nftables balancer, which gets a tenth of the frames. Called in `lb`. Raises Void, CommandFailed."""
    rows = []
    for count in flows:
        rows.append(Row("bare XDP_TX", count, frames, lambda: _attached(rig.programs["yardstick"], lb)))
        rows.append(Row("l4lb, established", count, frames, lambda: _attached(rig.generation.program, lb), ours=True))
    if nft:
        rows += [Row("nftables DNAT and SNAT", n, frames // 10, lambda: _nftables(lb, nft)) for n in flows if n <= NFT_FLOWS]
    samples: list[list[float]] = [[] for _ in rows]
    with _attached(rig.programs["sink"], far):
        for _ in range(rounds):
            for row, found in zip(rows, samples):
                with row.way():
                    found.append(_valid_rate(rig, far, row))
    return [LiveFigures(row.name, row.flows, Spread.of(found)) for row, found in zip(rows, samples)]
