"""The programs as objects: compiled without a warning, within the verifier's budgets, cached honestly, bound to maps by name."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from l4lb_agent.dataplane import compiler, program, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.program import CompileError, Objects
from l4lb_agent.dataplane.syscall import VerifierError
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.health.layout import Probe, ProbeKey
from l4lb_agent.model.mapspec import MapType
from l4lb_agent.model.reasons import Reason
from tests.packet.balancer import Balancer
from tests.packet.bed import open_descriptors
from tests.packet.conftest import Make, furnish
from tests.packet.verifier import cost
from tests.packet.wire import V4, from_client

MAX_PROCESSED, MAX_STACK = 200_000, 384
pytestmark = pytest.mark.timeout(600)  # compiling takes a second, and many on an emulated machine that others keep busy


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the sources that a test may spoil."""
    return Path(shutil.copytree(program.BPF_DIR, tmp_path / "bpf"))


@pytest.fixture
def every_map(objects: Objects, lb: Balancer) -> Iterator[dict[str, int]]:
    """Descriptors of all maps, those of a generation too."""
    maps = {name: fd.fileno() for name, fd in lb.maps.items()} | {"tails": lb.generation.tails.fileno()}
    own = {name: Fd(syscall.map_create(*sizes, 1, 0, name)) for name, sizes in objects.maps.items() if name not in maps}
    yield maps | {name: fd.fileno() for name, fd in own.items()}
    for fd in own.values():
        fd.close()


@pytest.mark.parametrize("name", compiler.PROGRAMS)
def test_a_program_keeps_the_verifiers_budgets(objects: Objects, every_map: dict[str, int], name: str) -> None:
    spent = cost(name, objects.programs[name], every_map)
    assert 100 < spent.processed <= MAX_PROCESSED
    assert 0 < spent.stack <= MAX_STACK


def test_every_program_is_the_hot_one_or_one_of_the_agents_own_or_has_a_slot() -> None:
    assert {program.HOT, program.SWEEP, program.PROBE, *program.TAILS} == set(compiler.PROGRAMS)
    assert len(set(program.TAILS.values())) == len(program.TAILS)
    assert max(program.TAILS.values()) < layout.TAILS


@pytest.mark.compiles
def test_the_sources_compile_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", compiler.__name__, str(program.BPF_DIR), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stderr + done.stdout == ""


def test_c_and_the_map_specifications_agree_on_every_map(objects: Objects) -> None:
    shared = {s.name: (int(s.type), s.key_size, s.value_size) for s in mapspec.specs(mapspec.Sizes())}
    assert {name: sizes for name, sizes in objects.maps.items() if name in shared} == shared
    assert set(objects.maps) - set(shared) == {"tails", "scratch", "capturing", "probes"}
    assert objects.maps["tails"][0] == MapType.PROG_ARRAY
    assert objects.maps["probes"] == (MapType.HASH, ctypes.sizeof(ProbeKey), ctypes.sizeof(Probe))


def test_the_agent_never_imports_bcc() -> None:
    code = "import sys; import l4lb_agent.dataplane.kernel, l4lb_agent.dataplane.program; sys.exit('bcc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.compiles
def test_compiling_twice_gives_the_same_tag_and_the_kernels_tags_do_not_depend_on_maps(
    make: Make, objects: Objects, tmp_path: Path
) -> None:
    assert program.compile_or_cached(program.BPF_DIR, tmp_path) == objects
    tags = {syscall.prog_info(make().generation.program.fileno()).tag for _ in range(2)}
    assert len(tags) == 1


class Compiler:
    """In place of the compiler's process, which takes a second: hands out what it wrote once, and counts."""

    def __init__(self, payload: dict[str, Any]) -> None:
        self.payload, self.runs = payload, 0

    def __call__(self, _: Path) -> dict[str, Any]:
        """As program._compile."""
        self.runs += 1
        return self.payload


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Compiler:
    """A compiler that counts its runs."""
    (path,) = cache.iterdir()
    one = Compiler(json.loads(path.read_bytes())["payload"])
    monkeypatch.setattr(program, "_compile", one)
    return one


def test_a_warm_cache_compiles_nothing(tmp_path: Path, compiled: Compiler, objects: Objects) -> None:
    for _ in range(3):
        assert program.compile_or_cached(program.BPF_DIR, tmp_path) == objects
    assert compiled.runs == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"\xff" + raw[1:],
        lambda raw: b"[]",
        lambda raw: raw.replace(b'"code": "', b'"code": "AAAA', 1),
        lambda raw: json.dumps(json.loads(raw) | {"checksum": "0" * 64}).encode(),
    ],
    ids=["empty", "torn", "no_text", "other_json", "other_code", "other_checksum"],
)
def test_a_damaged_cache_file_is_replaced(tmp_path: Path, compiled: Compiler, objects: Objects, damage: Callable[[bytes], bytes]) -> None:
    program.compile_or_cached(program.BPF_DIR, tmp_path)
    (path,) = tmp_path.iterdir()
    good = path.read_bytes()
    path.write_bytes(damage(good))
    assert program.compile_or_cached(program.BPF_DIR, tmp_path) == objects
    assert path.read_bytes() == good
    assert compiled.runs == 2


def test_a_cache_file_of_another_user_is_not_trusted(tmp_path: Path, compiled: Compiler) -> None:
    program.compile_or_cached(program.BPF_DIR, tmp_path)
    (path,) = tmp_path.iterdir()
    os.chown(path, 65534, 65534)
    program.compile_or_cached(program.BPF_DIR, tmp_path)
    assert path.stat().st_uid == os.geteuid(), "replaced by our own"
    assert compiled.runs == 2


@pytest.mark.usefixtures("compiled")
def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path, objects: Objects) -> None:
    (tmp_path / "file").write_text("")
    assert program.compile_or_cached(program.BPF_DIR, tmp_path / "file") == objects


@pytest.mark.usefixtures("compiled")
def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, objects: Objects, cache: Path) -> None:
    """A folder stands where the file should be."""
    in_the_way = tmp_path / next(cache.iterdir()).name
    in_the_way.mkdir()
    assert program.compile_or_cached(program.BPF_DIR, tmp_path) == objects
    assert list(tmp_path.iterdir()) == [in_the_way]


def test_any_change_of_a_source_changes_the_key(sources: Path) -> None:
    before = program.cache_key(sources)
    assert before == program.cache_key(program.BPF_DIR)
    for name in ("l4lb.c", "tcp.h", "stubs/include/linux/types.h"):
        path = sources / name
        path.write_text(path.read_text() + "\n")
        assert program.cache_key(sources) != before
        before = program.cache_key(sources)


@pytest.mark.compiles
def test_a_compile_error_carries_the_compilers_words(sources: Path, tmp_path: Path) -> None:
    (sources / "tcp.h").write_text("no C at all\n")
    with pytest.raises(CompileError) as caught:
        program.compile_or_cached(sources, tmp_path / "cache")
    assert "tcp.h" in caught.value.log
    assert "error" in str(caught.value)
    assert not (tmp_path / "cache").exists(), "nothing is cached"


def test_a_program_that_the_kernel_refuses_carries_the_verifiers_words(sources: Path, tmp_path: Path, lb: Balancer) -> None:
    path = sources / "packet.h"
    path.write_text(path.read_text().replace("return start + size <= (void *)(long)ctx->data_end ? start : NULL;", "return start;"))
    bad = program.compile_or_cached(sources, tmp_path / "cache")
    with pytest.raises(VerifierError) as caught:
        bad.load({name: fd.fileno() for name, fd in lb.maps.items()})
    assert "invalid access to packet" in caught.value.log


def test_a_failed_load_leaves_no_descriptor_open(sources: Path, tmp_path: Path, objects: Objects, lb: Balancer) -> None:
    maps = {name: fd.fileno() for name, fd in lb.maps.items()}
    before = open_descriptors()
    with pytest.raises(KeyError):
        objects.load({name: number for name, number in maps.items() if name != "unanswered"})
    assert open_descriptors() == before


def test_a_load_keeps_the_hot_program_and_the_tails_only(objects: Objects, lb: Balancer) -> None:
    before = open_descriptors()
    generation = objects.load({name: fd.fileno() for name, fd in lb.maps.items()})
    assert open_descriptors() == before + 2
    wanted = {syscall.map_info(lb.maps[name].fileno()).id for name in objects.shared}
    assert wanted < syscall.prog_map_ids(generation.program.fileno())
    generation.close()


def test_two_generations_share_flows_and_not_their_tails(make: Make, objects: Objects) -> None:
    lb = make()
    furnish(lb, second_multiplier=0)  # to load may take an emulated machine longer than a flow waits for its answer
    lb.send(from_client(V4, flags="S"))
    lb.generation.close()
    lb.bed.generation = objects.load({name: fd.fileno() for name, fd in lb.maps.items()})
    assert lb.send(from_client(V4, flags="A")).reason is Reason.TO_BACKEND
    assert lb.send(from_client(V4, port=50000, flags="S")).reason is Reason.FLOW_CREATED
