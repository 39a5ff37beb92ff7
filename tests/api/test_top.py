"""l4lbctl top against a real server, driven by keys, without a terminal."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Footer, Static

import l4lb
from l4lb.aio import AsyncClient
from l4lb.top import draw
from l4lb.top.app import Confirm, Details, Top
from l4lb.v1 import backend_pb2
from l4lb_agent.control.facade import HealthView
from l4lb_agent.model.health.outcome import Outcome, Why
from l4lb_agent.model.health.state import Health, Probed, State
from tests.api.conftest import Agent

SIZE = (80, 24)


@pytest.fixture
def busy(agent: Agent) -> Agent:
    """Two services, three backends."""
    with l4lb.Client(agent.target) as lb:
        for number, service in enumerate(("api", "web"), 1):
            lb.create_service(service, vip=f"192.0.2.{number}", port=80)
        for number, name in enumerate(("web/a", "web/b", "api/c"), 1):
            lb.add_backend(name, address=f"10.0.0.{number}")
    return agent


@asynccontextmanager
async def running(agent: Agent, size: tuple[int, int] = SIZE) -> AsyncIterator[tuple[Top, Pilot[None]]]:
    """The application once it shows everything."""
    app = Top(lambda: AsyncClient(agent.target), agent.target, interval=0.1)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: len(names(app)) == 5 and app.state.sample is not None and bool(app.state.rates))
        yield app, pilot


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    """Waits for it."""
    async with asyncio.timeout(20):
        while not true():
            await pilot.pause(0.05)


def names(app: Top) -> list[str]:
    table: DataTable[str] = app.screen_stack[0].query_one("#rows", DataTable)
    return [str(key.value).split("/")[-1] for key in table.rows]


def text(app: Top, id: str) -> str:
    return str(app.screen_stack[0].query_one(f"#{id}", Static).content)


def screen(app: Top) -> list[str]:
    """What a person sees, line by line."""
    return ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]


async def test_at_80_columns_everything_is_there_and_moves(busy: Agent) -> None:
    async with running(busy) as (app, pilot):
        await until(pilot, lambda: app.state.rates["services/web"].packets > 0)
        await pilot.pause()
        lines = screen(app)
        assert max(map(len, lines)) <= 80
        [header] = [line for line in lines if "NAME" in line]
        assert all(label in header for label, _ in draw.COLUMNS), header
        [web] = [line for line in lines if line.strip().startswith("web")]
        assert "2 of 2" in web
        assert "█" in web
        assert any("DROPS" in line and "MAPS" in line for line in lines)
        assert any("flows" in line and "[" in line for line in lines)
        assert any("ready, revision 5, eth0 native" in line for line in lines)
        footer = app.query_one(Footer)
        assert footer.display
        before = app.state.sample
        await until(pilot, lambda: app.state.sample is not before)


async def test_keys_sort_reverse_filter_and_look_into_a_service(busy: Agent) -> None:
    async with running(busy) as (app, pilot):
        await pilot.press("s", "s", "s", "s")
        assert app.view.sort.value == "name"
        assert names(app) == ["api", "c", "web", "a", "b"]
        await pilot.press("r")
        assert names(app) == ["web", "b", "a", "api", "c"]
        await pilot.press("slash", *"web/a", "enter")
        assert names(app) == ["web", "a"]
        assert "filter 'web/a'" in text(app, "head")
        await pilot.press("escape")
        assert len(names(app)) == 5
        await pilot.press("ctrl+home", "enter")
        assert names(app) == ["web", "b", "a"]
        await pilot.press("down", "enter")
        assert isinstance(app.screen, Details)
        assert any("10.0.0.2" in line for line in screen(app))
        await pilot.press("escape", "escape")
        assert len(names(app)) == 5


async def test_looking_into_a_backend_shows_the_probes_that_its_health_comes_from(busy: Agent) -> None:
    name = "services/api/backends/c"
    probes = tuple(Probed(Outcome(Why.STATUS, 0.25, f"503 number {number}"), 1.0 + number) for number in range(3))
    health = Health(State.DOWN, 1.0, False, 3, history=probes)
    busy.control.backends[name] = replace(busy.control.backends[name], health=HealthView(health))
    async with running(busy) as (app, pilot):
        await pilot.press("s", "s", "s", "s", "ctrl+home", "down")
        assert app.selected == name
        await until(pilot, lambda: any(line.split()[:3] == ["c", "ok", "DOWN"] for line in screen(app)))
        await pilot.press("enter")
        await until(pilot, lambda: any("503 number 0" in line for line in screen(app)))
        shown = [line for line in screen(app) if "STATUS" in line]
        assert [line.split("503 number ")[1][0] for line in shown] == ["2", "1", "0"]


async def test_the_cursor_stays_on_its_row_when_the_order_changes(busy: Agent) -> None:
    async with running(busy) as (app, pilot):
        await pilot.press("s", "s", "s", "s", "ctrl+end")
        assert app.selected == "services/web/backends/b"
        await pilot.press("r")
        assert app.selected == "services/web/backends/b"


def admin(agent: Agent, name: str) -> int:
    return agent.control.backends[name].backend.admin


async def test_a_drain_needs_a_yes_and_shows_how_far_it_is(busy: Agent) -> None:
    name = "services/web/backends/b"
    busy.control.live[name] = 4
    async with running(busy) as (app, pilot):
        await pilot.press("ctrl+home", "d")
        assert "move to a backend first" in text(app, "news")
        await pilot.press("s", "s", "s", "s", "ctrl+end", "d")
        assert isinstance(app.screen, Confirm)
        assert any("Drain web/b" in line for line in screen(app))
        await pilot.press("n")
        assert admin(busy, name) == backend_pb2.ADMIN_STATE_ENABLED
        await pilot.press("d", "enter")
        assert admin(busy, name) == backend_pb2.ADMIN_STATE_ENABLED, "enter is no yes"
        await pilot.press("d", "y")
        await until(pilot, lambda: admin(busy, name) == backend_pb2.ADMIN_STATE_DRAINING)
        await until(pilot, lambda: app.query_one("#rows", DataTable).get_cell(name, "STATE") == "drain 0%")
        await pilot.press("u", "y")
        await until(pilot, lambda: admin(busy, name) == backend_pb2.ADMIN_STATE_ENABLED)


async def test_pause_holds_what_is_shown(busy: Agent) -> None:
    async with running(busy) as (app, pilot):
        await pilot.press("p")
        assert "PAUSED" in text(app, "head")
        with l4lb.Client(busy.target) as lb:
            lb.add_backend("web/z", address="10.0.0.9")
        await until(pilot, lambda: "services/web/backends/z" in app.state.backends)
        assert "z" not in names(app)
        await pilot.press("p")
        await until(pilot, lambda: "z" in names(app))


async def test_an_agent_that_goes_is_said_and_waited_for(busy: Agent) -> None:
    connected = lambda: AsyncClient(busy.target, resume=0.2)  # noqa: E731
    app = Top(connected, busy.target, interval=0.1)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: len(names(app)) == 5)
        await asyncio.to_thread(busy.stop)
        await until(pilot, lambda: "no agent answers" in text(app, "head"))
        await asyncio.to_thread(busy.start)
        await until(pilot, lambda: "ready, revision" in text(app, "head"))


async def test_no_color_means_none(busy: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with running(busy) as (app, _):
        assert app.no_color
        strips = app.screen._compositor.render_strips()
        for one in app.get_line_filters():
            strips = [strip.apply_filter(one, app.background_colors[1]) for strip in strips]
        colours = {segment.style.color for strip in strips for segment in strip if segment.style and segment.style.color}
        assert all(colour.triplet is None or len(set(colour.triplet)) == 1 for colour in colours), "grey at most"


def test_without_textual_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['textual'] = sys.modules['textual.app'] = None; from l4lb.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "top"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install" in done.stderr
