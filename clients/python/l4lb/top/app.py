"""The terminal of `l4lbctl top`: widgets, keys, and the tasks that listen to the agent."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

from l4lb import names
from l4lb.aio import AsyncClient
from l4lb.errors import Error
from l4lb.top import draw
from l4lb.top.state import MOST_ROWS, State, View

AGENT_SECONDS = 2.0  # between looks at what no stream tells of
AGAIN_SECONDS = 1.0  # after the agent was lost for longer than streams wait
PANEL_LINES = 5


class Confirm(ModalScreen[bool]):
    """Asks before something is changed; only y says yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"), Binding("n,escape,q,enter", "answer(False)", "No", show=False),
    ]  # fmt: skip

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question."""
        yield Vertical(Static(self._question, markup=False), Static("y: yes   n: no", markup=False), id="box")

    def action_answer(self, answer: bool) -> None:
        """Closes with the answer."""
        self.dismiss(answer)


class Details(ModalScreen[None]):
    """Everything about one resource."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "dismiss", "Back")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The message as text."""
        yield VerticalScroll(Static(self._text, id="text", markup=False), id="box")

    def show(self, text: str) -> None:
        """More is known now, perhaps before anything is drawn."""
        self._text = text
        for drawn in self.query("#text").results(Static):
            drawn.update(text)

    def on_mount(self) -> None:
        """What has become known while it was made."""
        self.show(self._text)


class Top(App[None]):
    """Services and backends of one agent, live. `connect` makes the connection inside the running loop."""

    TITLE = "l4lbctl top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: 2; text-style: bold; }
    #rows { height: 1fr; }
    #filter { display: none; height: 1; border: none; padding: 0; }
    #filter.shown { display: block; }
    #panels { height: 6; }
    #panels Static { width: 1fr; }
    #news { height: 1; }
    Confirm, Details { align: center middle; }
    #box { width: 90%; max-width: 76; height: auto; max-height: 80%; border: solid $foreground; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "Sort"), Binding("r", "reverse", "Reverse"), Binding("slash", "filter", "Filter", key_display="/"),
        Binding("enter", "look", "Look into", priority=False), Binding("escape", "out", "Back"), Binding("d", "drain", "Drain"),
        Binding("u", "undrain", "Undrain"), Binding("p", "pause", "Pause"), Binding("q", "quit", "Quit"),
    ]  # fmt: skip

    def __init__(self, connect: Callable[[], AsyncClient], target: str, interval: float = 1.0) -> None:
        super().__init__()
        self.state, self.view, self.paused = State(), View(), False
        self._connect_to, self._target, self._interval = connect, target, interval
        self._lb: AsyncClient | None = None

    def compose(self) -> ComposeResult:
        """Head, table, filter, panels, news, keys."""
        yield Static(id="head", markup=False)
        table: DataTable[str] = DataTable(id="rows", cursor_type="row", zebra_stripes=False, cell_padding=1)
        yield table
        yield Input(id="filter", placeholder="part of a name", compact=True)
        yield Horizontal(Static(id="drops", markup=False), Static(id="fill", markup=False), id="panels")
        yield Static(id="news", markup=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Begins to listen."""
        for label, width in draw.COLUMNS:
            self._table.add_column(label, width=width, key=label)
        self._table.focus()
        self._lb = self._connect_to()
        for part in (self._samples, self._backends, self._agent):
            self.run_worker(self._again(part), exit_on_error=True)
        self.refresh_rows()

    async def on_unmount(self) -> None:
        """Ends the connection."""
        if self._lb is not None:
            await self._lb.close()

    @property
    def _table(self) -> "DataTable[str]":
        return self.query_one("#rows", DataTable)

    async def _again(self, part: Callable[[AsyncClient], Awaitable[None]]) -> None:
        """Listens for ever: an agent that is lost is waited for, and what was wrong is shown."""
        while True:
            assert self._lb is not None
            try:
                await part(self._lb)
            except Error as error:
                self.state.trouble = f"no agent answers: {error.message}" if error.unreachable else error.message
                self.refresh_rows()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _samples(self, lb: AsyncClient) -> None:
        async for sample in lb.stats(interval=self._interval):
            self.state.feed(sample)
            self.refresh_rows()

    async def _backends(self, lb: AsyncClient) -> None:
        self.state.backends.clear()
        async for event in lb.watch():
            self.state.heard(event)

    async def _agent(self, lb: AsyncClient) -> None:
        while True:
            self.state.agent = await lb.agent()
            self.state.services = {service.name: service async for service in lb.list_services()}
            await asyncio.sleep(AGENT_SECONDS)

    def refresh_rows(self) -> None:
        """Shows what is known now, unless paused; the cursor stays on its row."""
        if not self.is_running or self.paused:
            return
        self._say()
        rows, total = self.state.rows(self.view)
        keys = [row.name for row in rows]
        table, at = self._table, self.selected
        if keys != [key.value for key in table.rows]:
            table.clear()
            for row in rows:
                table.add_row(*draw.cells(row), key=row.name)
            if at in keys:
                table.move_cursor(row=keys.index(at), animate=False)
        else:
            for row in rows:
                for (label, _), cell in zip(draw.COLUMNS, draw.cells(row)):
                    if table.get_cell(row.name, label) != cell:
                        table.update_cell(row.name, label, cell)
        if total > MOST_ROWS:
            self.say(f"{MOST_ROWS} of {total} rows: filter with /, or look into a service with Enter")

    def _say(self) -> None:
        self.query_one("#head", Static).update(draw.headline(self.state, self.view, self._target, self.paused))
        self.query_one("#drops", Static).update(draw.drops(self.state.lost, PANEL_LINES))
        self.query_one("#fill", Static).update(draw.fill(self.state, PANEL_LINES))

    def say(self, text: str) -> None:
        """One line under the panels."""
        self.query_one("#news", Static).update(text)

    @property
    def selected(self) -> str:
        """Full name of the row under the cursor, "" without one."""
        table = self._table
        return list(table.rows)[table.cursor_row].value or "" if 0 <= table.cursor_row < len(table.rows) else ""

    def _look(self, **changes: object) -> None:
        self.view = View(**{**vars(self.view), **changes})
        was, self.paused = self.paused, False
        self.refresh_rows()
        self.paused = was
        self._say()

    def action_sort(self) -> None:
        """By the next column."""
        self._look(sort=self.view.sort.next())

    def action_reverse(self) -> None:
        """The other way round."""
        self._look(reverse=not self.view.reverse)

    def action_filter(self) -> None:
        """Lets a filter be typed."""
        field = self.query_one("#filter", Input)
        field.add_class("shown")
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filters while it is typed."""
        self._look(filter=event.value)

    def on_input_submitted(self) -> None:
        """The filter stays, the table has the keys again."""
        self.query_one("#filter", Input).remove_class("shown")
        self._table.focus()

    def on_data_table_row_selected(self) -> None:
        """Enter on a row: into the service, or all about the backend."""
        name = self.selected
        if name in self.state.backends or name == self.view.service:
            details = Details(draw.details(self.state, name))
            self.push_screen(details)
            if name in self.state.backends:
                self.run_worker(self._ask_more(details, name))
        elif name:
            self._look(service=name)

    async def _ask_more(self, details: Details, name: str) -> None:
        """The probes that a watch does not tell of; without an answer what is known already stays."""
        assert self._lb is not None
        with contextlib.suppress(Error):
            details.show(draw.backend(await self._lb.get_backend(name)))

    def action_out(self) -> None:
        """Out of what was looked into, filter first."""
        field = self.query_one("#filter", Input)
        if field.value or field.has_class("shown"):
            field.value = ""
            self.on_input_submitted()
        else:
            self._look(service="")

    def action_pause(self) -> None:
        """Holds what is shown, or goes on."""
        self.paused = not self.paused
        self.refresh_rows()
        self._say()

    def action_drain(self) -> None:
        """Asks whether to drain the backend under the cursor."""
        self._ask("Drain", "no new flow from then on, those there are go on", lambda lb, name: lb.drain(name))

    def action_undrain(self) -> None:
        """Asks whether to end the drain of the backend under the cursor."""
        self._ask("Undrain", "it receives new flows again", lambda lb, name: lb.undrain(name))

    def _ask(self, verb: str, then: str, call: Callable[[AsyncClient, str], Awaitable[object]]) -> None:
        name = self.selected
        if name not in self.state.backends:
            self.say("move to a backend first")
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._change(verb, name, call))

        self.push_screen(Confirm(f"{verb} {names.short(name)}: {then}?"), answered)

    async def _change(self, verb: str, name: str, call: Callable[[AsyncClient, str], Awaitable[object]]) -> None:
        assert self._lb is not None
        try:
            await call(self._lb, name)
            self.say(f"{verb} {names.short(name)}: done")
        except Error as error:
            self.say(f"{verb} {names.short(name)}: {error.message}")


def run(connect: Callable[[], AsyncClient], target: str, interval: float) -> None:
    """Until q."""
    Top(connect, target, interval).run()
