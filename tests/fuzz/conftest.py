"""Programs and worlds, made once for all tests."""

from pathlib import Path

import pytest

from lab import native
from tests.packet.conftest import alone, cache, every_cpu, objects  # noqa: F401 (fixtures)

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def kernel_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that sends frames through BPF_PROG_TEST_RUN."""
    return native.compile([HERE / "kernel.c"], tmp_path_factory.mktemp("kernel") / "kernel", "-O2")
