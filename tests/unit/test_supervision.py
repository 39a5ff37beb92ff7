"""What the service manager is told: readiness, what is missing, signs of life only from the loop that works, reloads."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from l4lb_agent import config, supervision
from l4lb_agent.control.forwarding import Forwarding
from l4lb_agent.model.config import DatapathConfig, Timeouts
from l4lb_agent.model.doctor import ways
from l4lb_agent.supervision import Supervision
from tests.fakes.values import address
from tests.fakes.world import FakeNetwork

TEXT = '[datapath]\nsnat = ["192.0.2.10"]\n[[interface]]\nname = "eth0"\n'
SECONDS = 20.0  # a guard, never a speed


@dataclass
class FakeForwarding:
    """control.forwarding.Forwarding's answer."""

    missing: list[str] = field(default_factory=list)


class FakeAgent:
    """As much of control.agent.Agent as is told about."""

    def __init__(self) -> None:
        self.not_ready_reason = "eth0: is not there"
        self.turns = 0
        self.forwarding = FakeForwarding()
        self.configured: list[DatapathConfig] = []

    @property
    def ready(self) -> bool:
        """Nothing is missing."""
        return not self.not_ready_reason

    def configure(self, new: DatapathConfig) -> None:
        """Remembers."""
        self.configured.append(new)


class FakeServer:
    """Remembers health."""

    def __init__(self) -> None:
        self.health: list[bool] = []
        self.reloads = 0

    def reload(self) -> None:
        """Counts."""
        self.reloads += 1

    async def serving(self, serving: bool) -> None:
        """Remembers."""
        self.health.append(serving)


class FakeManager:
    """system.notify.Notifier that remembers."""

    watchdog_seconds = 0.04

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __getattr__(self, what: str) -> Any:
        return lambda *values: self.heard.append(" ".join([what, *map(str, values)]))

    def count(self, what: str) -> int:
        """How often it was told `what`."""
        return sum(one.split()[0] == what for one in self.heard)


@dataclass
class Stage:
    """One supervision with everything around it."""

    path: Path
    agent: FakeAgent = field(default_factory=FakeAgent)
    server: FakeServer = field(default_factory=FakeServer)
    manager: FakeManager = field(default_factory=FakeManager)

    def __post_init__(self) -> None:
        self.path.write_text(TEXT)
        parts: tuple[Any, ...] = (self.agent, self.server, self.manager)
        self.supervision = Supervision(*parts, config.load(self.path), self.path, lambda: self.manager.heard.append("recorder"))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It tells meanwhile."""
        task = asyncio.create_task(self.supervision.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def becomes_ready(self) -> None:
        """Nothing is missing any more."""
        self.agent.not_ready_reason = ""
        self.supervision.changed.set()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "agent.toml")


async def until(condition: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


async def test_ready_is_said_once_and_what_is_missing_all_the_time(stage: Stage) -> None:
    async with stage.running():
        await until(lambda: "status not ready: eth0: is not there" in stage.manager.heard)
        assert "ready" not in stage.manager.heard
        stage.becomes_ready()
        await until(lambda: "ready" in stage.manager.heard)
        assert stage.manager.heard.index("status forwarding as asked") < stage.manager.heard.index("ready")
        stage.agent.not_ready_reason = "eth0: is gone"
        stage.supervision.changed.set()
        await until(lambda: "status not ready: eth0: is gone" in stage.manager.heard)
        stage.becomes_ready()
        await until(lambda: stage.server.health == [True, False, True])


async def test_a_loop_that_gets_on_gives_signs_of_life_and_one_that_hangs_none(stage: Stage) -> None:
    stage.becomes_ready()
    async with stage.running():
        for _ in range(5):
            heard = stage.manager.count("watchdog")
            stage.agent.turns += 1
            await until(lambda heard=heard: stage.manager.count("watchdog") > heard)
        heard = stage.manager.count("watchdog")
        await asyncio.sleep(stage.manager.watchdog_seconds * 4)
        assert stage.manager.count("watchdog") <= heard + 1
        assert stage.manager.count("recorder") == stage.manager.count("watchdog")


async def test_a_start_that_waits_gets_more_time_only_while_it_gets_on(stage: Stage) -> None:
    async with stage.running():
        for _ in range(3):
            heard = stage.manager.count("extend")
            stage.agent.turns += 1
            await until(lambda heard=heard: stage.manager.count("extend") > heard)
        heard = stage.manager.count("extend")
        await asyncio.sleep(stage.manager.watchdog_seconds * 4)
        assert stage.manager.count("extend") <= heard + 1
        stage.becomes_ready()
        await until(lambda: "ready" in stage.manager.heard)
        heard = stage.manager.count("extend")
        lived = stage.manager.count("watchdog")
        for _ in range(3):
            stage.agent.turns += 1
            await until(lambda lived=lived: stage.manager.count("watchdog") > lived)
            lived = stage.manager.count("watchdog")
        assert stage.manager.count("extend") == heard


async def test_a_reload_takes_over_what_it_can_and_names_the_rest(stage: Stage) -> None:
    stage.becomes_ready()
    async with stage.running():
        await until(lambda: "ready" in stage.manager.heard)
        changed = TEXT.replace('"eth0"', '"eth1"').replace("[datapath]", "[sizes]\nflows = 128\n[datapath]\nrst_rate = 9\ntimeouts.syn = 8")
        stage.path.write_text(changed + '[agent]\nlog_level = "debug"\n')
        level = logging.getLogger().level
        try:
            stage.supervision.asked.set()
            await until(lambda: stage.manager.heard.count("ready") == 2)
            assert logging.getLogger().level == logging.DEBUG
        finally:
            logging.getLogger().setLevel(level)
    assert [(new.timeouts, new.rst_rate, new.rst_burst) for new in stage.agent.configured] == [(Timeouts(syn=8), 9, 1000)]
    assert stage.server.reloads == 1
    at = stage.manager.heard.index("reloading")
    told = [one for one in stage.manager.heard[at:] if one.split()[0] in ("reloading", "status", "ready")]
    assert told == ["reloading", "status forwarding as asked; restart to take over interface, sizes.flows", "ready"]


async def test_a_file_with_mistakes_changes_nothing_and_is_named(stage: Stage) -> None:
    stage.path.write_text("[datapath]\nsnat = 5\n")
    words = await stage.supervision.reload()
    assert words.startswith("reload refused, nothing changed: ")
    assert "datapath.snat: must be an array of addresses" in words
    assert (stage.agent.configured, stage.server.reloads) == ([], 0)


async def test_a_reload_from_a_slow_disk_holds_nothing_up(stage: Stage) -> None:
    stage.path.unlink()
    os.mkfifo(stage.path)  # who reads it waits for a writer
    stage.becomes_ready()
    async with stage.running():
        stage.supervision.asked.set()
        await until(lambda: "reloading" in stage.manager.heard)
        for _ in range(3):
            heard = stage.manager.count("watchdog")
            stage.agent.turns += 1
            await until(lambda heard=heard: stage.manager.count("watchdog") > heard)
        assert stage.server.reloads == 0
        stage.path.write_text(TEXT)
        await until(lambda: stage.server.reloads == 1)


def test_every_setting_either_needs_a_restart_or_is_taken_over() -> None:
    names = set(config._flat(config.Config()))
    reloadable = {name for name in names if name.startswith(config.RELOADABLE)}
    assert {"datapath.timeouts.udp", "datapath.rst_rate", "datapath.rst_burst", "agent.log_level"} < reloadable
    assert {"datapath.echo", "datapath.icmp_rate", "datapath.icmp_burst"} < reloadable
    assert {
        "datapath.snat",
        "interface",
        "sizes.flows",
        "api",
        "tls",
        "metrics.listen",
        "tracing.endpoint",
        "recorder.enabled",
        "health.probe_mark",
        "agent.pin_dir",
    } <= names - reloadable
    tables = ("datapath", "interfaces", "doors", "metrics", "tracing", "recorder", "health")
    fields = {name for name in vars(config.Config()) if name not in tables}
    assert {f"agent.{name}" for name in fields} <= names, "a new setting of [agent] is not compared"
    own = config.Config()
    parts = (own.metrics, own.tracing, own.recorder, own.health, Timeouts(), DatapathConfig().sizes)
    assert len(names) == len(fields) + 1 + 2 + 11 + sum(len(vars(part)) for part in parts)


def test_pins_are_elsewhere_outside_of_the_unit() -> None:
    default = config.Config()
    assert default.pins_here(lambda path: True) == config.UNIT_PIN_DIR
    assert default.pins_here(lambda path: False) == config.HOST_PIN_DIR
    assert config.Config(pin_dir=Path("/p")).pins_here(lambda path: False) == Path("/p")


def test_forwarding_is_asked_for_configured_interfaces_and_families_only() -> None:
    both = config.parse('[datapath]\nsnat = ["192.0.2.1", "2001:db8::1"]\n[[interface]]\nname = "eth0.5"\n[[interface]]\nname = "b"')
    assert both.forwarding_settings() == [
        "net/ipv4/conf/eth0.5/forwarding", "net/ipv6/conf/eth0.5/forwarding", "net/ipv4/conf/b/forwarding", "net/ipv6/conf/b/forwarding",
    ]  # fmt: skip
    assert config.parse(TEXT).forwarding_settings() == ["net/ipv4/conf/eth0/forwarding"]


async def test_an_interface_that_does_not_forward_is_told_once_with_the_command() -> None:
    network, told = FakeNetwork(), []
    path = DatapathConfig(snat=(address("192.0.2.10"), address("2001:db8::10")))
    look = Forwarding(network, ["eth0", "eth1"], path, lambda: told.append(1))
    await look.look()
    assert (look.missing, told) == ([], [])
    network.forwards = {"eth1": frozenset({6})}
    await look.look()
    await look.look()
    [reason] = look.missing
    assert reason.startswith("eth1 does not forward IPv4, ")
    assert ways.FORWARDING_COMMAND in reason
    assert told == [1]
    network.forwards = {}
    await look.look()
    assert (look.missing, told) == ([], [1, 1])
    assert supervision.LOOK_SECONDS < 5
