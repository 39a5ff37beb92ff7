"""A controller on another host drives the installed unit over mutual TLS, from the first service to the last drain."""

import contextlib
import json
import math
import multiprocessing
import threading
import time
from collections.abc import Iterator
from multiprocessing.managers import SyncManager
from typing import Any

import pytest

import l4lb
from l4lb.v1.backend_pb2 import AdminState
from lab import netns
from lab.remote import Remote
from lab.services import WEIGHTS, Balanced
from lab.topology import PORT_HTTP
from tests.netns.test_drain import slow_download_from
from tests.systemd.unit import Unit

pytestmark = pytest.mark.timeout(1800)

FOLDER = "/etc/l4lb/tls"
REQUESTS = 400
SIGMAS = 5  # how far the shares may be from the weights


class Controller(SyncManager):
    """A process of its own: gRPC opens its sockets in threads that stay in the namespace where they began."""


Controller.register("client", l4lb.Client, method_to_typeid={"watch": "Iterator", "list_backends": "Iterator", "list_services": "Iterator"})


@pytest.fixture
def remote(unit: Unit) -> Remote:
    """The unit running with a TCP port for controllers, and certificates made for this test."""
    made = Remote(unit.lab)
    text = made.configuration(0)
    unit.machine.path(FOLDER).mkdir()
    for file in (made.authority.ca, *made.authority.folder.glob("agent-*.pem"), *made.authority.folder.glob("agent-*.key")):
        inside = unit.machine.path(f"{FOLDER}/{file.name}")
        inside.touch(mode=0o600)
        inside.write_bytes(file.read_bytes())
    unit.machine.run("chown", "-R", "l4lb:l4lb", FOLDER)
    unit.configure(more=text.replace(str(made.authority.folder), FOLDER))
    unit.systemctl("start")
    return made


@pytest.fixture
def balanced(unit: Unit, remote: Remote) -> Iterator[Balanced]:
    """A client with an admin's certificate that runs in the namespace `controller`."""
    shown = remote.certificate("admin")
    process = Controller(ctx=multiprocessing.get_context("spawn"))
    process.start(netns.enter, (unit.lab.namespace("controller"),))
    with process:
        client = process.client(remote.target, ca=remote.authority.ca, cert=shown.cert, key=shown.key)  # type: ignore[attr-defined]
        yield Balanced(unit.lab, None, client)  # type: ignore[arg-type]  # it starts and kills no agent


def watch(balanced: Balanced, name: str) -> tuple[threading.Thread, list[tuple[float, l4lb.Event]]]:
    """A thread that watches one service until a backend of it is removed, and what it sees when; everything there is has been told."""
    events: Any = balanced.client.watch(name, timeout=120)
    while next(events).kind != "SYNCED":
        pass
    seen: list[tuple[float, l4lb.Event]] = []

    def follow() -> None:
        with contextlib.suppress(EOFError):  # the controller is ended by a test that has failed already
            for event in events:
                seen.append((time.monotonic(), event))
                if event.kind == "DELETED":
                    return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    return thread, seen


def test_a_controller_balances_two_backends_and_drains_and_removes_one_under_a_download(unit: Unit, balanced: Balanced) -> None:
    lab, client = unit.lab, balanced.client
    vip = [lab.topology.vip().v4]
    balanced.add_service("web", 4, protocol="tcp", port=PORT_HTTP, weights=WEIGHTS)
    shared = lab.traffic.counted(vip, REQUESTS, "shared")
    assert (shared["failed"], shared["errors"]) == (0, {})
    share = WEIGHTS["a"] / sum(WEIGHTS.values())
    assert abs(shared["by_backend"]["backend-a"] - share * REQUESTS) <= SIGMAS * math.sqrt(REQUESTS * share * (1 - share))
    assert {f"backend-{name}": len(lab.nginx[name].logged("shared")) for name in WEIGHTS} == shared["by_backend"]

    download = slow_download_from(balanced, "a")
    thread, seen = watch(balanced, "web")
    client.drain("web/a")
    fresh = lab.traffic.counted(vip, REQUESTS, "fresh")
    assert download.running()
    assert (fresh["failed"], fresh["by_backend"]) == (0, {"backend-b": REQUESTS})
    assert lab.nginx["a"].logged("fresh") == []
    result = download.result()
    assert (result["failed"], result["sha256"]) == (0, lab.digests["slow.bin"])
    drained = client.wait_drained("web/a", timeout=60)
    assert drained.admin_state == AdminState.ADMIN_STATE_DRAINED
    client.remove_backend("web/a")
    thread.join(60)

    of_a = [(at, event.kind, event.backend) for at, event in seen if event.backend and event.backend.name == drained.name]
    assert [str(kind) for _, kind, _ in of_a] == ["MODIFIED"] * (len(of_a) - 1) + ["DELETED"]
    told = [(at, backend) for at, kind, backend in of_a if kind == "MODIFIED"]
    draining = [backend for _, backend in told if backend.admin_state == AdminState.ADMIN_STATE_DRAINING]
    assert draining, "DRAINING is not told"
    assert draining[0].drain.remaining_flows >= 1
    # The end is told at once, and once more when the kernel has it, unless it has been removed by then.
    ends = told[len(draining) :]
    assert {(backend.admin_state, backend.drain.remaining_flows) for _, backend in ends} == {(AdminState.ADMIN_STATE_DRAINED, 0)}
    assert [backend.reconciling for _, backend in ends] in ([True], [True, False], [False])
    assert ends[0][0] >= result["ended"], "DRAINED before the last FIN"
    assert [backend.name for backend in client.list_backends("web")] == ["services/web/backends/b"]
    alone = lab.traffic.counted(vip, 20, "alone")
    assert (alone["failed"], alone["by_backend"]) == (0, {"backend-b": 20})
    audit = [json.loads(line) for line in unit.machine.path("/var/lib/l4lb/audit.jsonl").read_text().splitlines()]
    changes = [entry for entry in audit if str(entry.get("resource", "")).startswith("services/web")]
    assert {(entry["who"], entry["role"], entry["outcome"]) for entry in changes} == {("spiffe://l4lb/role/admin", "admin", "OK")}
