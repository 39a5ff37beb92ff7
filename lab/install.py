"""Copies of this checkout: installed ones that an unprivileged agent can read, and compiled ones for the emulated machine.

Installed is $L4LB_CACHE/app-HASH with the packages l4lb_agent (bpf/ inside), l4lb and lab. A checkout below /root or in a 0700 folder is
unreadable for everyone but root, and that is where checkouts tend to be.
"""

import compileall
import fcntl
import hashlib
import marshal
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import CodeType
from typing import Final

from l4lb_agent.dataplane import program

_UNUSED_SECONDS: Final = 86400
_PACKAGES: Final = {"l4lb_agent": "agent/l4lb_agent", "l4lb_agent/bpf": "bpf", "l4lb": "clients/python/l4lb", "lab": "lab"}
_HEADER: Final = 16  # bytes before the code in a .pyc: magic, flags, and time and size or the hash of the source
_LEFT_OUT: Final = shutil.ignore_patterns("__pycache__", "*.pyc")


def cache_folder() -> Path:
    """$L4LB_CACHE, /var/cache/l4lb by default."""
    return Path(os.environ.get("L4LB_CACHE", "/var/cache/l4lb"))


def checkout() -> Path:
    """The checkout this package is in."""
    return Path(__file__).resolve().parents[1]


def _files(root: Path) -> list[Path]:
    folders = [root / source for source in _PACKAGES.values()]
    found = {path for folder in folders for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return sorted(found)


def _hash(root: Path) -> str:
    digest = hashlib.sha256()
    for path in _files(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def installed(root: Path, cache: Path) -> Path:
    """The copy of `root`, made if there is none, complete when it has its name. Copies that no run has used for a day are removed."""
    copy = cache / f"app-{_hash(root)}"
    if not copy.is_dir():
        _make(root, cache, copy)
    os.utime(copy)
    for other in cache.glob("app-*"):
        if other != copy and time.time() - other.stat().st_mtime > _UNUSED_SECONDS:
            shutil.rmtree(other, ignore_errors=True)
    return copy


def program_cache(cache: Path, uid: int) -> Path:
    """Where the agents of all laboratories, run as `uid`, keep what they have compiled."""
    folder = cache / "lab-programs"
    folder.mkdir(mode=0o755, exist_ok=True)
    os.chown(folder, uid, uid)
    return folder


def bytecode(cache: Path, into: Path) -> Path:
    """Makes `into`, a folder, a warm cache for program.compile_or_cached, from the one in `cache` that all runs as root share: compiling
    takes seconds. Files there that no run has used for a day are removed. Raises CompileError."""
    shared = cache / "bytecode"
    shared.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # runs that begin together compile once
        program.compile_or_cached(program.BPF_DIR, shared)
        [ours] = shared.glob(f"*{program.cache_key(program.BPF_DIR)[:32]}*")
        os.utime(ours)
        for other in shared.glob("*.json"):
            if time.time() - other.stat().st_mtime > _UNUSED_SECONDS:
                other.unlink()
        shutil.copyfile(ours, into / ours.name)
    return into


def _make(root: Path, cache: Path, copy: Path) -> None:
    work = Path(tempfile.mkdtemp(prefix="making-app.", dir=cache))
    try:
        for package, source in _PACKAGES.items():
            shutil.copytree(root / source, work / package, ignore=_LEFT_OUT, dirs_exist_ok=True)
        for path in (work, *work.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        compileall.compile_dir(work, quiet=2)
        work.rename(copy)
    except OSError:
        if not copy.is_dir():  # else another run was faster
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def precompiled(root: Path, sources: Iterable[str], into: Path, tests: Sequence[str], named: Path) -> None:
    """Copies `sources` of `root` to `into`, with bytecode of all that pytest imports to collect `tests`. The copy will be run as `named`.
    Tests that cannot be collected are left to whoever runs them."""
    for source in filter(lambda source: (root / source).exists(), sources):
        (into / source).parent.mkdir(parents=True, exist_ok=True)
        if (root / source).is_dir():
            shutil.copytree(root / source, into / source, symlinks=True, ignore=_LEFT_OUT)
        else:
            shutil.copy2(root / source, into / source)
    path = os.pathsep.join(str(into / part) for part in ("agent", "clients/python", ""))
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "lab.shards", *tests],
        cwd=into, env=environment | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    for compiled in into.rglob("*.pyc"):
        data = compiled.read_bytes()
        code = _moved(marshal.loads(data[_HEADER:]), str(into), str(named))
        compiled.write_bytes(data[:_HEADER] + marshal.dumps(code))


def _moved(code: CodeType, old: str, new: str) -> CodeType:
    """The same code from a file below another folder, where a traceback finds its lines."""
    constants = tuple(_moved(one, old, new) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_filename=new + code.co_filename.removeprefix(old), co_consts=constants)
