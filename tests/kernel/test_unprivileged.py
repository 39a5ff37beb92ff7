"""Everything works for a user who is not root, with three capabilities and no new privileges, in a network namespace."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from l4lb_agent.dataplane.program import BPF_DIR, compile_or_cached
from tests.kernel.conftest import Pair, run

ROOT = Path(__file__).parents[2]
NOBODY = 65534
CAPABILITIES = "-all,+bpf,+net_admin,+perfmon"


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that another user can read, with the agent, the tests' helpers and a bpffs whose `pins` belong to that user."""
    folder = Path(tempfile.mkdtemp(prefix="l4lb-k-"))
    try:
        folder.chmod(0o755)
        shutil.copytree(ROOT / "agent/l4lb_agent", folder / "l4lb_agent", ignore=shutil.ignore_patterns("__pycache__"))
        compile_or_cached(BPF_DIR, folder / "cache")
        (folder / "tests/kernel").mkdir(parents=True)
        for name in ("__init__.py", "kernel/__init__.py", "kernel/trivial.py", "kernel/unprivileged.py"):
            shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
        run("chmod", "-R", "a+rX", str(folder))
        (folder / "bpf").mkdir()
        run("mount", "-t", "bpf", "-o", "mode=755", "bpf", str(folder / "bpf"))
        (folder / "bpf/pins").mkdir(mode=0o750)
        os.chown(folder / "bpf/pins", NOBODY, NOBODY)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder / "bpf")], capture_output=True, check=False)
        shutil.rmtree(folder)


def test_every_door_opens_with_the_rights_of_the_unit(pair: Pair, readable: Path) -> None:
    command = [
        "nsenter", f"--net=/run/netns/{pair.lb}", "setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups",
        f"--inh-caps={CAPABILITIES}", f"--ambient-caps={CAPABILITIES}", f"--bounding-set={CAPABILITIES}", "--no-new-privs",
        sys.executable, "-m", "tests.kernel.unprivileged", str(readable / "bpf/pins"), str(readable / "cache"),
    ]  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(readable), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=readable, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    three = f"{1 << 12 | 1 << 38 | 1 << 39:016x}"  # CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF
    assert seen["status"] == {
        "Uid": "\t".join([str(NOBODY)] * 4), "CapEff": three, "CapBnd": three, "CapAmb": three, "NoNewPrivs": "1",
    }  # fmt: skip
    assert (seen["adopted"], seen["same_link"], seen["swapped"], seen["mode"]) == (True, True, True, "native")
    assert (seen["flows"], seen["counted"], seen["config"]) == (0, 0, 1)
    assert seen["bytes"] > 100_000
    assert seen["asked"] == ["VLAN_FOREIGN", "PASS"]
    assert seen["now"] > 0
    peer = pair.ip(pair.peer, "link", "show", "eth0").split("link/ether ")[1].split()[0]
    assert seen["macs"] == [peer, peer]
    assert seen["detached"] == ["eth0"]
    assert os.listdir(readable / "bpf/pins") == []
