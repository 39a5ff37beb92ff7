"""The datapath's own program under the agent's doors, and what is left of it when the agent is killed."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.kernel import KernelDatapath
from l4lb_agent.dataplane.program import BPF_DIR, TAILS, Objects, compile_or_cached
from l4lb_agent.model import mapspec
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.model.tables import array_key
from lab import install
from tests.kernel.conftest import Pair, run

SIZES = mapspec.Sizes(services=4, backends=8, addresses=8, flows=1024, rings_1021=2, rings_4093=2, rings_16381=2, rings_65537=2)
AGENT = """
import sys, time
from pathlib import Path
from l4lb_agent.dataplane.kernel import KernelDatapath
from l4lb_agent.dataplane.program import BPF_DIR, compile_or_cached
from tests.kernel.test_real_program import SIZES
datapath = KernelDatapath(Path(sys.argv[1]), SIZES, compile_or_cached(BPF_DIR, Path(sys.argv[2])))
state = datapath.attach("eth0", "auto")
print(state.link_id, state.program_id, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the compiled program."""
    return install.bytecode(install.cache_folder(), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def program(cache: Path) -> Objects:
    return compile_or_cached(BPF_DIR, cache)


def filled_tails(pin_dir: Path, tag: str) -> set[int]:
    with Fd(syscall.obj_get(pin_dir / "generations" / tag / "tails")) as tails:
        slots = range(syscall.map_info(tails.fileno()).max_entries)
        return {slot for slot in slots if syscall.map_lookup(tails.fileno(), array_key(slot), 4) is not None}


def test_a_killed_agent_leaves_link_program_and_tails_to_the_next(inside: Pair, bpffs: Path, cache: Path, program: Objects) -> None:
    pin_dir = bpffs / "l4lb"
    with subprocess.Popen([sys.executable, "-c", AGENT, str(pin_dir), str(cache)], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout
        link, running = (int(word) for word in agent.stdout.readline().split())
        with pytest.raises(BlockingIOError, match=f"pid {agent.pid}"):
            KernelDatapath(pin_dir, SIZES, program)
        agent.send_signal(signal.SIGKILL)
    assert f"prog/xdp id {running}" in inside.ip(inside.lb, "link", "show", "eth0")
    assert filled_tails(pin_dir, program.tag) == set(TAILS.values())
    second = KernelDatapath(pin_dir, SIZES, program)
    state = second.attach("eth0", "auto")
    assert second.adopted
    assert (state.link_id, state.program_id) == (link, running)
    second.close()


def test_every_map_of_the_program_is_one_that_the_agent_makes(program: Objects) -> None:
    assert program.shared <= {spec.name for spec in mapspec.specs(SIZES)}


def test_an_interface_gives_its_packets_to_the_reason_counters(inside: Pair, bpffs: Path, program: Objects) -> None:
    """What is not for a virtual service passes untouched, and is counted."""
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, program)
    datapath.attach("eth0", "auto")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("192.0.2.1", 5000))
        receiver.settimeout(10)
        sender = f"import socket; s = socket.socket({int(socket.AF_INET)}, 2); [s.sendto(b'x', ('192.0.2.1', 5000)) for _ in range(3)]"
        run("ip", "netns", "exec", inside.peer, sys.executable, "-c", sender)
        assert [receiver.recv(10) for _ in range(3)] == [b"x"] * 3
    counted = datapath.counters().reasons
    assert counted[Reason.FOREIGN, Verdict.PASS][0] >= 3
    assert {verdict for _, verdict in counted} == {Verdict.PASS}
    datapath.close()
    assert os.path.exists(bpffs / "l4lb/links/eth0")
