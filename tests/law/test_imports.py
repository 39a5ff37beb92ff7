"""Imports run one way, files can be read at once, and nothing in the product knows that it is tested."""

from pathlib import Path

import pytest

from tests.law import python_rules as rules

PRODUCT = ("agent/l4lb_agent", "clients/python/l4lb")
WRITTEN = (*PRODUCT, "clients/python/examples", "lab", "bench", "scripts")


def short(path: Path) -> str:
    return str(path.relative_to(rules.ROOT))


def violations(paths: list[Path], rule: object) -> list[str]:
    assert paths, "there is nothing to look at"
    return [f"{short(path)}: {found}" for path in paths for found in rule(path.read_text())]  # type: ignore[operator]


@pytest.mark.parametrize("folder", rules.LAYERS)
def test_imports_run_one_way_through_the_doors(folder: str) -> None:
    paths = rules.python_files(f"agent/l4lb_agent/{folder}")
    assert violations(paths, lambda source: rules.layer_violations(folder, source)) == []


def test_only_convert_knows_both_the_api_and_the_model() -> None:
    paths = rules.python_files("agent/l4lb_agent")
    assert {short(path.parent) for path in paths if rules.both_worlds(path.read_text())} == {"agent/l4lb_agent/api/convert"}


def test_only_the_dataplane_knows_bpffs() -> None:
    """But for the configuration, which holds the default of pin_dir."""
    paths = [path for path in rules.python_files("agent/l4lb_agent") if "dataplane" not in path.parts]
    assert [short(path) for path in paths if "/sys/fs/bpf" in path.read_text() and path.name != "config.py"] == []


def test_the_client_knows_nothing_of_the_agent() -> None:
    import ast

    paths = rules.python_files("clients/python/l4lb")
    assert paths
    tops = {(short(path), i.top) for path in paths for i in rules.imports(ast.parse(path.read_text()))}
    assert [found for found in tops if found[1] in {rules.AGENT, "tests", "lab"}] == []


def test_no_module_is_in_a_ring_of_imports() -> None:
    for root, package in (("agent", "agent/l4lb_agent"), ("clients/python", "clients/python/l4lb"), (".", "lab"), (".", "bench")):
        files = {}
        for path in rules.python_files(package):
            parts = path.relative_to(rules.ROOT / root).with_suffix("").parts
            files[".".join(parts).removesuffix(".__init__")] = path.read_text()
        assert rules.cycles(rules.module_graph(files)) == []


def test_files_and_functions_can_be_read_at_once() -> None:
    assert violations(rules.python_files(*WRITTEN), rules.size_violations) == []


def test_folders_stay_small() -> None:
    counts = {short(path.parent): 0 for path in rules.python_files(*WRITTEN)}
    for path in rules.python_files(*WRITTEN):
        counts[short(path.parent)] += 1
    assert {folder: count for folder, count in counts.items() if count > rules.MAX_FOLDER_FILES} == {}


def test_nothing_in_the_product_behaves_otherwise_under_test() -> None:
    assert violations(rules.python_files(*PRODUCT), rules.switch_violations) == []


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("model", "import time"),
        ("model", "from l4lb_agent.control import store"),
        ("model", "def f():\n    import random"),
        ("model", "import socket\nsocket.socket()"),
        ("model", "import datetime\ndatetime.datetime.now()"),
        ("control", "import grpc"),
        ("control", "from l4lb_agent.dataplane import maps"),
        ("dataplane", "from l4lb_agent.system import network"),
        ("dataplane", "import pyroute2"),
        ("system", "from bcc import BPF"),
        ("api", "from l4lb_agent.dataplane import maps"),
        ("api", "from l4lb_agent import config"),
        ("api", "from . import convert"),
    ],
)
def test_the_rule_of_imports_finds_what_breaks_it(folder: str, source: str) -> None:
    assert rules.layer_violations(folder, source)


def test_the_other_rules_find_what_breaks_them() -> None:
    assert rules.both_worlds("from l4lb.v1 import backend_pb2\nfrom l4lb_agent.model import backend")
    assert not rules.both_worlds("from l4lb.v1 import backend_pb2\nfrom l4lb_agent.model.errors import Refused")
    assert rules.size_violations("\n" * 301)
    assert rules.size_violations("def f():\n" + "    x = 1\n" * 50)
    for switch in ("if testing:\n    pass", "f(test_mode=True)", "os.environ['PYTEST_CURRENT_TEST']", "from tests import fakes"):
        assert rules.switch_violations(switch)
    ring = rules.module_graph({"p.a": "from p import b", "p.b": "import p.c", "p.c": "from p.a import x", "p.d": "import p.a"})
    assert [set(found) for found in rules.cycles(ring)] == [{"p.a", "p.b", "p.c"}]
    assert rules.layer_violations("model", "import re\nimport socket\nsocket.htons(1)\nfrom l4lb_agent.model import ids") == []
