"""Millions of mutated frames through the loaded program: what must hold of every packet holds of these."""

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from l4lb_agent.dataplane import program
from l4lb_agent.dataplane.program import Objects
from l4lb_agent.model.reasons import Reason, Verdict
from tests.fuzz.world import WORLDS, furnish, written
from tests.packet.balancer import LOOPBACK, Balancer

SEED = int(os.environ.get("L4LB_FUZZ_SEED", "20261128"))
FRAMES = 400_000  # in each world
pytestmark = pytest.mark.timeout(300)

# Mutations that reach less would prove less.
REACHED = {
    Reason.NOT_IP, Reason.FOREIGN, Reason.LOCAL, Reason.FLOW_CREATED, Reason.TO_BACKEND, Reason.TO_CLIENT, Reason.ICMP_TO_BACKEND,
    Reason.ICMP_TO_CLIENT, Reason.ARP_ANSWERED, Reason.NEIGHBOUR_ANSWERED, Reason.RST_ANSWERED, Reason.DRAIN_RESET, Reason.ECHO_ANSWERED,
    Reason.TTL_EXCEEDED, Reason.PROTOCOL_UNSUPPORTED, Reason.ICMP_UNSUPPORTED, Reason.NO_SERVICE, Reason.NO_BACKEND,
    Reason.RST_LIMITED, Reason.NO_FLOW, Reason.NO_SOURCE_PORT, Reason.FLOW_TABLE_FULL, Reason.MTU_EXCEEDED, Reason.FLOW_CUT,
    Reason.CLOSED, Reason.ICMP_MALFORMED, Reason.ICMP_FRAGMENT, Reason.ICMP_NO_FLOW, Reason.ICMP_MTU_TOO_SMALL, Reason.ECHO_REFUSED,
    Reason.ECHO_LIMITED, Reason.TOO_BIG_ANSWERED, Reason.TOO_BIG_LIMITED, Reason.NO_BACKEND_ANSWERED, Reason.NO_BACKEND_LIMITED,
    Reason.VERSION_WRONG, Reason.LENGTH_WRONG, Reason.CHECKSUM_WRONG, Reason.TCP_OFFSET_WRONG, Reason.TCP_FLAGS_WRONG,
    Reason.SOURCE_MARTIAN, Reason.SOURCE_OWNED, Reason.FRAME_FOREIGN, Reason.NEW_FLOWS_LIMITED, Reason.SOURCE_LIMITED, Reason.DENIED,
    Reason.NOT_ALLOWED, Reason.IP_OPTIONS, Reason.SOURCE_ROUTED, Reason.OPTIONS_WRONG,
    Reason.NOT_A_REPLY, Reason.CLIENT_IS_BACKEND,
    Reason.HEADER_ORDER, Reason.HEADERS_TOO_MANY, Reason.FRAGMENT, Reason.FRAGMENT_TINY, Reason.FRAGMENT_OVERLAP, Reason.FRAGMENT_WRONG,
}  # fmt: skip
NEVER = {Reason.UNSPECIFIED, Reason.TAIL_CALL_FAILED}
# Mistakes in one place each, and what the judge has to say of them.
MISTAKES = {
    "checksum": ("checksum.h", "return ~fold((__u16)~checksum + delta);", "return ~fold((__u16)~checksum + delta + 1);", "checksum"),
    "aborted": (
        "finish.h",
        "return outcome & (VERDICTS - 1);",
        "return outcome >> 3 == REASON_TTL_EXCEEDED ? XDP_ABORTED : outcome & (VERDICTS - 1);",
        "aborted",
    ),
    "foreign": ("scratch.h", "OUTCOME(reason, XDP_PASS)", "OUTCOME(reason, XDP_DROP)", "not for us, and not passed"),
    "kept": ("outcome.h", "return PASS(REASON_FOREIGN);", "return DROP(reason);", "not for us, and not passed"),
    "outer": ("encap.h", "ip->protocol = outer_protocol(o);", "ip->protocol = PROTOCOL_IPV4;", "checksum"),
    "source_route": ("options.h", "kind == OPTION_LOOSE_ROUTE ||", "", "routed by its source"),
    "routing_header": ("options.h", "if (!x->type || x->segments_left)", "if (!x->type)", "routed by its source"),
    "flags": ("parse.h", "return kinds & TCP_KIND(flags);", "return kinds & TCP_KIND(flags & ~TCP_URG);", "no TCP sends these flags"),
    "frame": ("parse.h", "(frame->source[0] | frame->destination[0]) & 1", "frame->source[0] & 1", "in a frame for many"),
    "martian": ("source.h", "first == 127 ||", "", "no host has its source"),
    "hop": ("encap.h", "ip->hop_limit--;", "", "the inner packet is not the one that came"),
}


def run(driver: Path, lb: Balancer, frames: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Send `frames` frames; ends with 1 at the first that is not treated as it must be."""
    world = folder / "world"
    world.write_bytes(written(lb))
    number = lb.generation.program.fileno()
    argv = [driver, str(number), str(LOOPBACK), str(frames), str(SEED), world]
    return subprocess.run(argv, pass_fds=[number], capture_output=True, text=True, timeout=280, check=False)


def fuzz(driver: Path, lb: Balancer, folder: Path) -> Counter[Reason]:
    """The reasons that FRAMES frames end with, by the counters, which must know of each."""
    print(f"L4LB_FUZZ_SEED={SEED}")
    before = {key: packets for key, (packets, _) in lb.reasons().items()}
    done = run(driver, lb, FRAMES, folder)
    assert done.returncode == 0, done.stderr
    counted: Counter[Verdict] = Counter()
    reasons: Counter[Reason] = Counter()
    for (reason, verdict), (packets, _) in lb.reasons().items():
        reasons[Reason(reason)] += packets - before.get((reason, verdict), 0)
        counted[Verdict(verdict)] += packets - before.get((reason, verdict), 0)
    assert counted == Counter({verdict: int(number) for verdict, number in zip(Verdict, done.stdout.split())})
    assert reasons.total() == FRAMES
    return reasons


def test_mutated_frames_are_treated_as_every_packet_must_be(kernel_driver: Path, objects: Objects, tmp_path: Path) -> None:
    reached: Counter[Reason] = Counter()
    for world in WORLDS:
        lb = furnish(objects, world)
        reached += fuzz(kernel_driver, lb, tmp_path)
        lb.bed.close()
    assert not NEVER & set(reached)
    assert set(reached) >= REACHED, REACHED - set(reached)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(kernel_driver: Path, tmp_path: Path, name: str) -> None:
    source, right, wrong, problem = MISTAKES[name]
    sources = Path(shutil.copytree(program.BPF_DIR, tmp_path / "bpf"))
    text = (sources / source).read_text()
    assert right in text
    (sources / source).write_text(text.replace(right, wrong))
    lb = furnish(program.compile_or_cached(sources, tmp_path / "cache"), WORLDS[-1] if name == "kept" else WORLDS[0])
    done = run(kernel_driver, lb, FRAMES, tmp_path)
    lb.bed.close()
    assert done.returncode == 1, done.stderr
    assert problem in done.stderr.splitlines()[0]
