"""The rules for Python code, as functions from source to violations: what may import what, how long things may be."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
AGENT = "l4lb_agent"
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_FOLDER_FILES = 300, 50, 25
# folder of agent/l4lb_agent -> folders that it may import. The files beside the folders (__main__, config) know everything.
LAYERS: Mapping[str, frozenset[str]] = {
    "model": frozenset({"model"}),
    "control": frozenset({"control", "model"}),
    "dataplane": frozenset({"dataplane", "model"}),
    "system": frozenset({"system", "model"}),
    "api": frozenset({"api", "control", "model"}),
    "metrics": frozenset({"metrics", "control", "model"}),
}
# library -> folders that may import it; the rest of the world is free but for the model.
DOORS: Mapping[str, frozenset[str]] = {
    "bcc": frozenset({"dataplane"}),
    "pyroute2": frozenset({"system"}),
    "grpc": frozenset({"api"}),
    "grpc_health": frozenset({"api", "system"}),
    "grpc_reflection": frozenset({"api"}),
    "grpc_status": frozenset({"api"}),
    "google": frozenset({"api", "system"}),
    "prometheus_client": frozenset({"metrics"}),
    "h11": frozenset({"system"}),
    "h2": frozenset({"system"}),
    "opentelemetry": frozenset({"api"}),
    "l4lb": frozenset({"api"}),
}
# All of the standard library that decisions need: no clock, disk, network, randomness, process or log among it.
PURE = frozenset({
    "__future__", "abc", "array", "base64", "binascii", "bisect", "collections", "contextlib", "ctypes", "dataclasses", "datetime", "enum",
    "functools", "hashlib", "heapq", "ipaddress", "itertools", "json", "math", "operator", "re", "string", "struct", "textwrap",
    "types", "typing", "zlib",
})  # fmt: skip
CLOCKS = frozenset({"now", "today", "utcnow"})  # what of datetime reads one
PURE_NAMES = {"socket": frozenset({"htonl", "htons", "ntohl", "ntohs"})}  # of an impure module, the pure functions
SWITCHES = frozenset({"testing", "test_mode", "is_test", "under_test", "in_test", "PYTEST_CURRENT_TEST"})


@dataclass(frozen=True)
class Import:
    """One imported module, or a name in it: `from a import b` is a.b."""

    module: str
    line: int

    @property
    def top(self) -> str:
        """First part."""
        return self.module.split(".")[0]

    @property
    def folder(self) -> str:
        """Second part: the folder of the agent."""
        return (self.module.split(".") + [""])[1]


def python_files(*folders: str) -> list[Path]:
    """Files that people write, below `folders` of the repository."""
    generated = ROOT / "clients/python/l4lb/v1"
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [path for path in found if generated not in path.parents]


def imports(tree: ast.AST) -> Iterator[Import]:
    """Every import in `tree`, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)


def layer_violations(folder: str, source: str) -> list[str]:
    """What a file in `folder` of the agent imports and may not."""
    found = []
    tree = ast.parse(source)
    for i in imports(tree):
        if i.module.startswith("."):
            found.append(f"line {i.line}: {i.module} is relative: write it out")
        elif i.top == AGENT and i.folder in LAYERS and i.folder not in LAYERS[folder]:
            found.append(f"line {i.line}: {folder} imports {i.module}")
        elif i.top == AGENT and i.folder not in LAYERS and i.folder != "__version__":
            found.append(f"line {i.line}: {folder} imports {i.module}, which knows every part")
        elif i.top in DOORS and folder not in DOORS[i.top]:
            found.append(f"line {i.line}: {folder} imports {i.top}, the door of {', '.join(DOORS[i.top])}")
        elif folder == "model" and i.top != AGENT and i.top not in PURE and i.top not in PURE_NAMES:
            found.append(f"line {i.line}: model imports {i.top}, which is not pure")
    return found + (_impure_names(tree) if folder == "model" else [])


def _impure_names(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            allowed = PURE_NAMES.get(node.value.id)
            if allowed is not None and node.attr not in allowed:
                found.append(f"line {node.lineno}: model uses {node.value.id}.{node.attr}, which is not pure")
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS and ast.unparse(node.value).split(".")[-1] in ("date", "datetime"):
            found.append(f"line {node.lineno}: model uses .{node.attr}, which reads a clock")
    return found


def both_worlds(source: str) -> bool:
    """Whether a file knows both the messages of the API and the values of the model; errors are everybody's."""
    modules = {i.module for i in imports(ast.parse(source))}
    messages = any(m.startswith(("l4lb.v1", "google.protobuf")) for m in modules)
    values = any(m.startswith(f"{AGENT}.model") and not m.startswith(f"{AGENT}.model.errors") for m in modules)
    return messages and values


def size_violations(source: str) -> list[str]:
    """Files and functions that are too long to be read at once."""
    found = []
    lines = source.count("\n")
    if lines > MAX_FILE_LINES:
        found.append(f"{lines} lines, more than {MAX_FILE_LINES}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found.append(f"line {node.lineno}: {node.name} has {length} lines, more than {MAX_FUNCTION_LINES}")
    return found


def switch_violations(source: str) -> list[str]:
    """What makes production code behave otherwise under test, or knows the tests."""
    found = []
    tree = ast.parse(source)
    for node in ast.walk(tree):
        words = {
            ast.Name: lambda n: n.id, ast.Attribute: lambda n: n.attr, ast.arg: lambda n: n.arg, ast.keyword: lambda n: n.arg,
            ast.Constant: lambda n: n.value,
        }  # fmt: skip
        word = words[type(node)](node) if type(node) in words else None
        if isinstance(word, str) and word in SWITCHES:
            found.append(f"line {getattr(node, 'lineno', 0)}: {word}")
    foreign = (i for i in imports(tree) if i.top in {"tests", "pytest", "unittest", "hypothesis", "doctest"})
    return found + [f"line {i.line}: imports {i.module}" for i in foreign]


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Rings of modules that import each other, each once."""
    found: dict[frozenset[str], list[str]] = {}

    def visit(module: str, way: list[str]) -> None:
        if module in way:
            ring = way[way.index(module) :]
            found.setdefault(frozenset(ring), ring)
            return
        if module in done:
            return
        for other in sorted(graph.get(module, ())):
            visit(other, [*way, module])
        done.add(module)

    done: set[str] = set()
    for module in sorted(graph):
        visit(module, [])
    return list(found.values())


def module_graph(files: Mapping[str, str]) -> dict[str, set[str]]:
    """Module -> modules of the same set that it imports when it is imported itself, from module name -> source."""
    graph: dict[str, set[str]] = {}
    for module, source in files.items():
        top = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
        wanted = {i.module for node in top for i in imports(ast.Module([node], []))}
        graph[module] = {other for name in wanted for other in (name, name.rpartition(".")[0]) if other in files and other != module}
    return graph
