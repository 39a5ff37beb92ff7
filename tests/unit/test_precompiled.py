"""Copies of a checkout that are compiled: valid for their sources, and named as they will be."""

import marshal
from collections.abc import Iterator
from importlib.util import source_hash
from pathlib import Path
from types import CodeType

from lab import install

ROOT = Path(__file__).parents[2]
TEST = "tests/unit/test_checksum.py"
SOURCES = ("agent", "bpf", "clients/python", "lab", "pyproject.toml", "tests/__init__.py", "tests/unit/__init__.py", TEST, "no/such/file")


def every(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from every(one)


def test_a_copy_has_bytecode_of_a_test_as_pytest_rewrites_it_and_of_what_it_imports(tmp_path: Path) -> None:
    install.precompiled(ROOT, SOURCES, tmp_path, [TEST], Path("/guest"))
    compiled = {path.name.partition(".")[0]: path for path in tmp_path.rglob("*.pyc")}
    assert {"test_checksum", "checksum", "shards"} <= set(compiled)
    assert "-pytest-" in compiled["test_checksum"].name
    for name, source in (("test_checksum", TEST), ("checksum", "clients/python/l4lb/checksum.py")):
        data = compiled[name].read_bytes()
        modified = int((ROOT / source).stat().st_mtime)
        valid = source_hash((tmp_path / source).read_bytes()) if name == "test_checksum" else modified.to_bytes(4, "little")
        assert data[8:16].startswith(valid)
        assert int((tmp_path / source).stat().st_mtime) == modified
        codes = list(every(marshal.loads(data[16:])))
        assert len(codes) > 2
        assert {code.co_filename for code in codes} == {f"/guest/{source}"}
