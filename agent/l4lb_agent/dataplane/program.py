"""The datapath's programs as bytecode: compiled in a short process of its own, cached, and loaded by bpf(2) alone.

Bytecode does not depend on the kernel that runs it (no CO-RE, only the stable context), so a warm cache needs neither BCC nor clang:
40 ms instead of seconds, and none of their memory.
"""

import base64
import binascii
import hashlib
import importlib.util
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from l4lb_agent.dataplane import compiler, steps, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.generation import Generation
from l4lb_agent.model import layout
from l4lb_agent.model.health.layout import PROBES
from l4lb_agent.model.mapspec import MapType

BPF_DIR: Final = Path(__file__).resolve().parent.parent / "bpf"
HOT: Final = "xdp_l4lb"
SWEEP: Final = "sweep"
PROBE: Final = "probe"
TAILS: Final = {
    "icmp": layout.TAIL_ICMP,
    "odd": layout.TAIL_ODD,
    "later": layout.TAIL_LATER,
    "tags": layout.TAIL_TAGS,
    "nat_new": layout.TAIL_NAT_NEW,
    "nat_port": layout.TAIL_NAT_PORT,
    "answer": layout.TAIL_ANSWER,
    "capture": layout.TAIL_CAPTURE,
}
_OWN: Final = ("scratch", "capturing")  # maps of one generation besides `tails`, of one element each
_FORMAT: Final = "1"  # of the cache file
_COMPILE_SECONDS: Final = 300  # a guard, generous: an emulated machine takes 20


class CompileError(Exception):
    """The sources do not compile, or BCC is missing; the message ends with the compiler's last words, `log` has all of them."""

    def __init__(self, what: str, log: str = "") -> None:
        tail = " | ".join(log.strip().splitlines()[-6:])
        super().__init__(f"{what}: {tail}" if tail else what)
        self.log = log


@dataclass(frozen=True)
class Code:
    """One program's instructions, with the map that each relocation's descriptor belongs to."""

    instructions: bytes
    relocations: tuple[tuple[int, str], ...]

    def bound(self, maps: Mapping[str, int]) -> bytes:
        """The instructions with the maps' descriptors in their places. Raises KeyError for a map that is not among them."""
        raw = bytearray(self.instructions)
        for offset, name in self.relocations:
            struct.pack_into("<i", raw, offset + 4, maps[name])
        return bytes(raw)


@dataclass(frozen=True)
class Objects:
    """All programs, ready to load; the `generation.Program` of this version. `maps` has type, key and value bytes by name."""

    tag: str
    programs: Mapping[str, Code]
    maps: Mapping[str, tuple[int, int, int]]

    @property
    def shared(self) -> frozenset[str]:
        """Names of the maps that the hot program uses and that outlive a generation."""
        used = {name for _, name in self.programs[HOT].relocations}
        return frozenset(used - {"tails", *_OWN})

    def load(self, maps: Mapping[str, int], missing: frozenset[str] = frozenset()) -> Generation:
        """Load everything, bound to `maps` (descriptors by name); the generation's own maps are created here and live as long as its
        programs. Slots of tails in `missing` stay empty. Raises VerifierError with the verifier's log, OSError, KeyError for a map that
        is not in `maps`."""
        with ExitStack() as ours, ExitStack() as undo:
            every = dict(maps)
            tails = Fd(syscall.map_create(MapType.PROG_ARRAY, 4, 4, layout.TAILS, 0, "tails"))
            undo.callback(tails.close)
            every["tails"] = tails.fileno()
            for name in _OWN:
                type_, key_bytes, value_bytes = self.maps[name]
                every[name] = ours.enter_context(Fd(syscall.map_create(type_, key_bytes, value_bytes, 1, 0, name))).fileno()
            for name, slot in TAILS.items():
                if name not in missing:
                    tail = ours.enter_context(self._load(name, every))
                    syscall.map_update(tails.fileno(), struct.pack("=I", slot), struct.pack("=I", tail.fileno()))
            program = self._load(HOT, every)
            undo.pop_all()
        return Generation(self.tag, program, tails)

    def load_with_steps(self, maps: Mapping[str, int], numbers: Mapping[str, int]) -> Generation:
        """The same, and every lookup in the maps of `numbers` is written down in the map steps.STEPS_MAP, as every redirect is. Raises as
        `load`, and ValueError for bytecode that cannot be followed."""
        programs = {name: Code(*steps.with_steps(code.instructions, code.relocations, numbers)) for name, code in self.programs.items()}
        return replace(self, programs=programs).load(maps)

    def load_sweep(self, maps: Mapping[str, int]) -> Fd:
        """The sweep program, with a scratch of its own: packets may interrupt it. Raises as `load`."""
        type_, key_bytes, value_bytes = self.maps["scratch"]
        with Fd(syscall.map_create(type_, key_bytes, value_bytes, 1, 0, "scratch")) as scratch:
            return self._load(SWEEP, dict(maps, scratch=scratch.fileno()))

    def load_probe(self, maps: Mapping[str, int]) -> tuple[Fd, Fd]:
        """The program for probes of VIPs, with a scratch of its own, and its map `probes`. Raises as `load`."""
        type_, key_bytes, value_bytes = self.maps["probes"]
        with ExitStack() as undo:
            probes = undo.enter_context(Fd(syscall.map_create(type_, key_bytes, value_bytes, PROBES, 0, "probes")))
            with Fd(syscall.map_create(self.maps["scratch"][0], 4, self.maps["scratch"][2], 1, 0, "scratch")) as scratch:
                program = self._load(PROBE, dict(maps, scratch=scratch.fileno(), probes=probes.fileno()))
            undo.pop_all()
        return program, probes

    def _load(self, name: str, maps: Mapping[str, int]) -> Fd:
        return Fd(syscall.prog_load(self.programs[name].bound(maps), name))


def compile_or_cached(bpf_dir: Path, cache_dir: Path) -> Objects:
    """The programs of the sources in `bpf_dir`, from the cache when it has them. A cache file that is damaged, or not ours, is replaced.

    Raises CompileError. A `cache_dir` that cannot be written is no error: the next start compiles again."""
    wanted = cache_key(bpf_dir)
    path = _cache_file(cache_dir, wanted)
    found = _read(path, wanted)
    if found is None:
        found = _compile(bpf_dir)
        _write(path, wanted, found)
    return objects(found)


def can_compile(bpf_dir: Path, cache_dir: Path) -> bool:
    """Whether compile_or_cached has what it needs: BCC, or its result of an earlier time."""
    wanted = cache_key(bpf_dir)
    return importlib.util.find_spec("bcc") is not None or _read(_cache_file(cache_dir, wanted), wanted) is not None


def _cache_file(cache_dir: Path, key: str) -> Path:
    return cache_dir / f"datapath-{key[:32]}.json"


def cache_key(bpf_dir: Path) -> str:
    """Digest (hexadecimal) of all that the bytecode depends on: every source, the flags, the version of BCC."""
    digest = hashlib.sha256()
    spec = importlib.util.find_spec("bcc")  # finds it without importing it
    version = Path(spec.origin).with_name("version.py").read_bytes() if spec and spec.origin else b""
    for part in (_FORMAT.encode(), repr(compiler.FLAGS).encode(), repr(compiler.PROGRAMS).encode(), version):
        digest.update(hashlib.sha256(part).digest())
    for source in sorted(bpf_dir.rglob("*.[ch]")):
        digest.update(str(source.relative_to(bpf_dir)).encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()


def _checksum(key: str, payload: Mapping[str, Any]) -> str:
    return hashlib.sha256((key + json.dumps(payload, sort_keys=True)).encode()).hexdigest()


def _read(path: Path, key: str) -> dict[str, Any] | None:
    try:
        if path.stat().st_uid not in (0, os.geteuid()):
            return None
        stored = json.loads(path.read_bytes())
        payload: dict[str, Any] = stored["payload"]
        return payload if stored["checksum"] == _checksum(key, payload) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, key: str, payload: Mapping[str, Any]) -> None:
    text = json.dumps({"checksum": _checksum(key, payload), "payload": payload})
    with suppress(OSError), ExitStack() as undo:  # without a cache the next start compiles again
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".datapath-", delete=False) as file:
            undo.callback(os.unlink, file.name)
            file.write(text)
        os.replace(file.name, path)
        undo.pop_all()


def _compile(bpf_dir: Path) -> dict[str, Any]:
    if importlib.util.find_spec("bcc") is None:
        raise CompileError(f"BCC is not installed for {sys.executable}: apt-get install python3-bpfcc")
    with tempfile.TemporaryDirectory(prefix="l4lb-compile-") as folder:
        output = Path(folder) / "out.json"
        command = [sys.executable, "-m", compiler.__name__, str(bpf_dir.resolve()), str(output)]
        package_root = str(Path(__file__).resolve().parents[2])
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_SECONDS, env=environment, check=False)
        except subprocess.TimeoutExpired as error:
            raise CompileError(f"compiling {bpf_dir} took longer than {_COMPILE_SECONDS} s") from error
        if done.returncode:
            raise CompileError(f"{bpf_dir} does not compile", done.stderr)
        result: dict[str, Any] = json.loads(output.read_bytes())
        return result


def objects(payload: Mapping[str, Any]) -> Objects:
    """From what compiler.py writes. Raises CompileError when it is damaged."""
    try:
        programs = {
            name: Code(base64.b64decode(entry["code"]), tuple((offset, map_name) for offset, map_name in entry["relocations"]))
            for name, entry in payload["programs"].items()
        }
    except binascii.Error as error:
        raise CompileError(f"bytecode is not base64: {error}") from error
    tag = hashlib.sha256(json.dumps([payload, _OWN], sort_keys=True).encode()).hexdigest()[:16]
    return Objects(tag, programs, {name: (sizes[0], sizes[1], sizes[2]) for name, sizes in payload["maps"].items()})
