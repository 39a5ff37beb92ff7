"""The whole datapath, compiled natively under ASan and UBSan: no packet reads past its end, and none comes out by what another left."""

import shutil
from pathlib import Path

import pytest

from l4lb_agent.dataplane import program
from l4lb_agent.dataplane.program import Objects
from tests.fuzz.build import CORPUS, MOST_CORPUS_BYTES, fuzzer, run, worlds
from tests.fuzz.test_kernel import SEED

RUNS, SECONDS = 500_000, 60  # whatever is reached first
pytestmark = pytest.mark.timeout(300)

# Mistakes in one place each, and how the fuzzer finds them in its corpus alone.
MISTAKES = {
    "beyond_the_end": ("packet.h", "return start + size <= (void", "return start + size - 1 <= (void", "heap-buffer-overflow"),
    "left_by_another": ("parse.h", "s->ttl = ip->ttl;", "", "comes out by what an earlier packet left"),
    "shift": ("hash.h", "x ^= x >> 29;", "x ^= x >> (29 | (x & 64));", "is too large for 64-bit type"),
    "uncounted": ("finish.h", "count->packets++;", "count->packets += outcome & 1;", "was counted 0 times"),
    "agents_own": ("finish.h", "count->packets++;", "count->packets++, service_get(1)->port++;", "which is the agent's"),
}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fuzzer(program.BPF_DIR, tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="session")
def every_world(objects: Objects, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return worlds(objects, tmp_path_factory.mktemp("worlds"))


def test_the_corpus_is_small() -> None:
    assert 0 < sum(path.stat().st_size for path in CORPUS.iterdir()) <= MOST_CORPUS_BYTES


def test_every_input_of_the_corpus_and_mutations_of_them(built: Path, every_world: dict[str, str], tmp_path: Path) -> None:
    """New inputs go to a folder of the test's own; what they find is in the failure."""
    done = run(built, every_world, f"-runs={RUNS}", f"-max_total_time={SECONDS}", f"-seed={SEED}", tmp_path, CORPUS)
    assert done.returncode == 0, done.stderr[-6000:]
    assert "DONE" in done.stderr


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_by_the_corpus(every_world: dict[str, str], tmp_path: Path, name: str) -> None:
    source, right, wrong, problem = MISTAKES[name]
    sources = Path(shutil.copytree(program.BPF_DIR, tmp_path / "bpf"))
    text = (sources / source).read_text()
    assert right in text
    (sources / source).write_text(text.replace(right, wrong, 1))
    done = run(fuzzer(sources, tmp_path), every_world, "-runs=0", CORPUS)
    assert done.returncode != 0
    assert problem in done.stderr
