"""l4lbctl events: what happens, a line each, as it happens."""

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import click

from l4lb.cli.base import DURATION, Session, output_option

if TYPE_CHECKING:
    from l4lb.aio import AsyncClient
    from l4lb.news import News
    from l4lb.v1.agent_pb2 import Agent
    from l4lb.v1.backend_pb2 import Backend
    from l4lb.v1.virtual_service_pb2 import VirtualService

LOOK_SECONDS = 1.0  # between looks at what no stream tells of


@click.command()
@click.option("--for", "seconds", type=DURATION, help="End after this time; without it, never.")
@click.option("--drops", type=click.FloatRange(0, min_open=True), default=100.0, show_default=True, help="Packets a second that are told.")
@output_option
@click.pass_obj
def events(session: Session, /, seconds: float | None, drops: float) -> None:
    """Show what happens: backends, services, drains, the agent, its interfaces and warnings, and packets that begin to be dropped."""

    async def follow() -> None:
        async with session.connect() as client:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                    for part in (_backends(session, client), _drops(session, client, drops), _others(session, client)):
                        group.create_task(part)

    try:
        asyncio.run(follow())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _tell(session: Session, news: "News") -> None:
    from l4lb.cli import render

    now = time.time()
    value = {"time": now, "kind": news.kind, "subject": news.subject, "text": news.text}
    if not render.structured(session, value, stream=True):
        click.echo(f"{time.strftime('%H:%M:%S', time.gmtime(now))} UTC  {news.kind:<9}  {news.subject}  {news.text}")


async def _backends(session: Session, client: "AsyncClient") -> None:
    """Silent about what there is already."""
    from l4lb import news
    from l4lb.streams import EventKind

    known: dict[str, Backend] = {}
    synced = False
    async for event in client.watch():
        if event.kind is EventKind.SYNCED:
            synced = True
        elif event.backend is not None:
            name = event.backend.name
            before = known.pop(name, None)
            after = None if event.kind is EventKind.DELETED else event.backend
            if after is not None:
                known[name] = after
            for one in news.of_backend(before, after) if synced else ():
                _tell(session, one)


async def _drops(session: Session, client: "AsyncClient", limit: float) -> None:
    from l4lb import news

    drops = news.Drops(limit)
    async for sample in client.stats(interval=LOOK_SECONDS, backends=False):
        for one in drops.feed(sample):
            _tell(session, one)


async def _others(session: Session, client: "AsyncClient") -> None:
    """Services and the agent, of which no stream tells; an agent that is gone for a moment is waited for by the streams."""
    from l4lb import news
    from l4lb.errors import Error

    agent: Agent | None = None
    services: dict[str, VirtualService] = {}
    while True:
        with contextlib.suppress(Error):
            seen = await client.agent()
            if agent is None or agent.revision != seen.revision:
                now = {service.name: service async for service in client.list_services()}
                for one in news.of_services(services, now) if agent is not None else ():
                    _tell(session, one)
                services = now
            for one in news.of_agent(agent, seen) if agent is not None else ():
                _tell(session, one)
            agent = seen
        await asyncio.sleep(LOOK_SECONDS)
