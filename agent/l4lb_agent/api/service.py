"""The service of proto/l4lb/v1: each method translates, asks control, translates back."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, TypeVar

from l4lb.v1 import backend_pb2, prefix_list_pb2, service_pb2_grpc, stats_pb2, virtual_service_pb2
from l4lb.v1 import service_pb2 as pb
from l4lb_agent.api import audit, convert, fields, pages
from l4lb_agent.api.caller import Context
from l4lb_agent.api.dumps import Dumps
from l4lb_agent.api.pace import Pace
from l4lb_agent.control.facade import Control, Outcome
from l4lb_agent.control.seen.looks import Looks
from l4lb_agent.model.errors import NotFound, ResourceExhausted

MAX_STREAMS = 512  # of WatchBackends and StreamStats together: other calls keep their share of the server
INTERVAL_SECONDS = (0.1, 3600.0)
SHARED_SECONDS = 0.05

T = TypeVar("T")
M = TypeVar("M", bound=pages.Sized)

_log = logging.getLogger(__name__)


class LoadBalancer(service_pb2_grpc.LoadBalancerServiceServicer):  # type: ignore[misc]
    """Answers for one agent. Methods raise model.errors.Refused, which guard.py turns into statuses."""

    def __init__(self, control: Control, version: str, warnings: Callable[[], list[tuple[str, str]]]) -> None:
        self._control, self._version, self._warnings = control, version, warnings
        self._streams = 0
        self._dumps = Dumps(control)
        self._samples: dict[tuple[frozenset[str], bool], tuple[float, asyncio.Task[stats_pb2.Stats]]] = {}  # by what is wanted

    async def CreateVirtualService(self, request: pb.CreateVirtualServiceRequest, _context: Context) -> pb.CreateVirtualServiceResponse:
        """Creates a virtual service without backends."""
        return pb.CreateVirtualServiceResponse(service=_service(await self._change(convert.create_service(request), request)))

    async def GetVirtualService(self, request: pb.GetVirtualServiceRequest, _context: Context) -> pb.GetVirtualServiceResponse:
        """Reads one virtual service."""
        name = fields.name(request.name, fields.SERVICE_NAME, "name")
        view = self._control.service(name)
        if view is None:
            raise _not_found(name, "name")
        return pb.GetVirtualServiceResponse(service=convert.service(view))

    async def ListVirtualServices(self, request: pb.ListVirtualServicesRequest, _context: Context) -> pb.ListVirtualServicesResponse:
        """Reads virtual services by name."""
        snapshot = self._control.snapshot()
        page, token = _page(snapshot.services, convert.service, request, "services")
        return pb.ListVirtualServicesResponse(services=page, next_page_token=token, revision=snapshot.revision)

    async def UpdateVirtualService(self, request: pb.UpdateVirtualServiceRequest, _context: Context) -> pb.UpdateVirtualServiceResponse:
        """Changes the fields that the mask names."""
        command = convert.update_service(request, self._control)
        return pb.UpdateVirtualServiceResponse(service=_service(await self._change(command, request)))

    async def DeleteVirtualService(self, request: pb.DeleteVirtualServiceRequest, _context: Context) -> pb.DeleteVirtualServiceResponse:
        """Deletes a virtual service."""
        return pb.DeleteVirtualServiceResponse(revision=(await self._change(convert.delete_service(request), request)).revision)

    async def AddBackend(self, request: pb.AddBackendRequest, _context: Context) -> pb.AddBackendResponse:
        """Adds a backend."""
        return pb.AddBackendResponse(backend=_backend(await self._change(convert.add_backend(request), request)))

    async def GetBackend(self, request: pb.GetBackendRequest, _context: Context) -> pb.GetBackendResponse:
        """Reads one backend."""
        name = fields.name(request.name, fields.BACKEND_NAME, "name")
        view = self._control.backend(name)
        if view is None:
            raise _not_found(name, "name")
        return pb.GetBackendResponse(backend=convert.backend(view, history=True))

    async def ListBackends(self, request: pb.ListBackendsRequest, _context: Context) -> pb.ListBackendsResponse:
        """Reads the backends of one virtual service, or of all."""
        parent = self._parent(request.parent)
        snapshot = self._control.snapshot()
        page, token = _page(snapshot.backends, convert.backend, request, f"backends of {parent}", f"{parent}/" if parent else "")
        return pb.ListBackendsResponse(backends=page, next_page_token=token, revision=snapshot.revision)

    async def UpdateBackend(self, request: pb.UpdateBackendRequest, _context: Context) -> pb.UpdateBackendResponse:
        """Changes the fields that the mask names."""
        command = convert.update_backend(request, self._control)
        return pb.UpdateBackendResponse(backend=_backend(await self._change(command, request)))

    async def RemoveBackend(self, request: pb.RemoveBackendRequest, _context: Context) -> pb.RemoveBackendResponse:
        """Removes a backend."""
        return pb.RemoveBackendResponse(revision=(await self._change(convert.remove_backend(request), request)).revision)

    async def DrainBackend(self, request: pb.DrainBackendRequest, _context: Context) -> pb.DrainBackendResponse:
        """Begins a drain."""
        return pb.DrainBackendResponse(backend=_backend(await self._change(convert.drain_backend(request), request)))

    async def UndrainBackend(self, request: pb.UndrainBackendRequest, _context: Context) -> pb.UndrainBackendResponse:
        """Ends a drain."""
        return pb.UndrainBackendResponse(backend=_backend(await self._change(convert.undrain_backend(request), request)))

    async def CreatePrefixList(self, request: pb.CreatePrefixListRequest, _context: Context) -> pb.CreatePrefixListResponse:
        """Creates a list of prefixes. Thousands of them are read in a thread: other calls go on."""
        command = await asyncio.to_thread(convert.create_list, request)
        return pb.CreatePrefixListResponse(list=_list(await self._change(command, request)))

    async def GetPrefixList(self, request: pb.GetPrefixListRequest, _context: Context) -> pb.GetPrefixListResponse:
        """Reads one list with its prefixes."""
        name = fields.name(request.name, fields.LIST_NAME, "name")
        view = self._control.prefix_list(name)
        if view is None:
            raise _not_found(name, "name")
        return pb.GetPrefixListResponse(list=await asyncio.to_thread(convert.prefix_list, view))

    async def ListPrefixLists(self, request: pb.ListPrefixListsRequest, _context: Context) -> pb.ListPrefixListsResponse:
        """Reads lists by name, without their prefixes."""
        snapshot = self._control.snapshot()
        page, token = _page(snapshot.lists, lambda view: convert.prefix_list(replace(view, members=None)), request, "lists")
        return pb.ListPrefixListsResponse(lists=page, next_page_token=token, revision=snapshot.revision)

    async def UpdatePrefixList(self, request: pb.UpdatePrefixListRequest, _context: Context) -> pb.UpdatePrefixListResponse:
        """Changes the fields that the mask names, and adds and removes prefixes."""
        command = await asyncio.to_thread(convert.update_list, request)
        return pb.UpdatePrefixListResponse(list=_list(await self._change(command, request)))

    async def DeletePrefixList(self, request: pb.DeletePrefixListRequest, _context: Context) -> pb.DeletePrefixListResponse:
        """Deletes a list."""
        return pb.DeletePrefixListResponse(revision=(await self._change(convert.delete_list(request), request)).revision)

    async def WatchBackends(self, request: pb.WatchBackendsRequest, context: Context) -> None:
        """Sends backends as they are and as they change."""
        parent = self._parent(request.parent)
        with self._stream():
            async with contextlib.aclosing(self._control.watch(parent, request.resume_revision)) as events:
                async for event in events:
                    await context.write(convert.event(event))

    async def StreamStats(self, request: pb.StreamStatsRequest, context: Context) -> None:
        """Sends the newest sample each interval. The write returns when the transport has taken the message, and no sample is read before:
        whatever the reader does, the stream holds one message here."""
        interval = fields.seconds(request.interval, *INTERVAL_SECONDS, "interval") if request.HasField("interval") else 1.0
        for i, name in enumerate(request.services):
            self._existing(fields.name(name, fields.SERVICE_NAME, f"services[{i}]"), f"services[{i}]")
        with self._stream():
            async for skipped in _ticks(interval, request.samples):
                response = pb.StreamStatsResponse(stats=await self._sample(frozenset(request.services), request.omit_backends))
                response.stats.skipped_samples = skipped
                await context.write(response)

    async def ListFlows(self, request: pb.ListFlowsRequest, context: Context) -> None:
        """Sends flows page by page; the next page is read when the transport has taken this one."""
        wanted = convert.flows_wanted(request)
        if wanted.service:
            self._existing(wanted.service, "parent")
        if wanted.backend and self._control.backend(wanted.backend) is None:
            raise _not_found(wanted.backend, "parent")
        with self._stream():
            async with contextlib.aclosing(self._control.flows(wanted)) as pages:
                async for page in pages:
                    await context.write(await asyncio.to_thread(convert.flows, page))

    async def CapturePackets(self, request: pb.CapturePacketsRequest, context: Context) -> None:
        """Sends packets as they came and as they left."""
        asked = convert.capture(request)
        left = asked.packets
        _log.info("event=capture peer=%s service=%s packets=%d", context.peer(), asked.filter.service, asked.packets)
        with self._stream():
            async with contextlib.aclosing(self._control.capture(asked.filter)) as batches:
                async for batch in batches:
                    for response in convert.captured(batch, asked.snap_bytes, left):
                        await context.write(response)
                    if asked.packets:
                        left -= min(left, len(batch.packets))
                        if not left:
                            return

    async def DumpRecord(self, _request: pb.DumpRecordRequest, context: Context) -> None:
        """Sends what the recorder remembers."""
        with self._stream():
            await self._dumps.record(context)

    async def ListDumps(self, request: pb.ListDumpsRequest, _context: Context) -> pb.ListDumpsResponse:
        """Lists the recorder's files."""
        return await self._dumps.page(request)

    async def ReadDump(self, request: pb.ReadDumpRequest, context: Context) -> None:
        """Sends one of them."""
        with self._stream():
            await self._dumps.read(request, context)

    async def GetRing(self, request: pb.GetRingRequest, _context: Context) -> pb.GetRingResponse:
        """Reads one ring."""
        name = fields.name(request.name, fields.SERVICE_NAME, "name")
        view = await self._control.ring(name, slots=request.include_slots)
        if view is None:
            raise _not_found(name, "name")
        return pb.GetRingResponse(ring=convert.ring(view))

    async def Explain(self, request: pb.ExplainRequest, _context: Context) -> pb.ExplainResponse:
        """Follows one packet."""
        wanted, interface = convert.asked(request)
        return pb.ExplainResponse(explanation=convert.explanation(await self._control.explain(wanted, interface)))

    async def GetAgent(self, _request: pb.GetAgentRequest, _context: Context) -> pb.GetAgentResponse:
        """Reads the agent."""
        view = self._control.agent()
        view = replace(view, warnings=[*view.warnings, *self._warnings()])
        return pb.GetAgentResponse(agent=convert.agent(view, self._version))

    async def GetConfig(self, _request: pb.GetConfigRequest, _context: Context) -> pb.GetConfigResponse:
        """Reads all desired state."""
        return pb.GetConfigResponse(config=await asyncio.to_thread(convert.config, self._control.snapshot()))

    async def Diagnose(self, _request: pb.DiagnoseRequest, _context: Context) -> pb.DiagnoseResponse:
        """Looks at the host; what the agent warns of by itself belongs to it."""
        found = await self._control.diagnose()
        return convert.findings(found, [*self._control.agent().warnings, *self._warnings()])

    async def _sample(self, services: frozenset[str], omit_backends: bool) -> stats_pb2.Stats:
        """The newest sample. Streams that want the same one share it: a thousand backends are milliseconds of work, which a thread does."""
        now = asyncio.get_running_loop().time()
        self._samples = {wanted: made for wanted, made in self._samples.items() if now - made[0] < SHARED_SECONDS or not made[1].done()}
        wanted = (services, omit_backends)
        if wanted not in self._samples:
            self._samples[wanted] = (now, asyncio.create_task(self._sampled(services, omit_backends)))
            self._samples[wanted][1].add_done_callback(lambda task: task.cancelled() or task.exception())  # who waits may have gone
        return await asyncio.shield(self._samples[wanted][1])

    async def _sampled(self, services: frozenset[str], omit_backends: bool) -> stats_pb2.Stats:
        return await asyncio.to_thread(convert.stats, await self._control.stats(), services, omit_backends)

    async def _change(self, command: Any, request: Any) -> Outcome:
        request_id = fields.request_id(request.request_id)
        digest = fields.request_hash(request) if request_id else ""
        outcome = await self._control.change(command, request_id=request_id, request_hash=digest, validate_only=request.validate_only)
        audit.note(outcome)
        return outcome

    def _parent(self, parent: str) -> str:
        """Name of the virtual service whose backends are meant, "" for all."""
        if parent == "services/-":
            return ""
        return self._existing(fields.name(parent, fields.SERVICE_NAME, "parent"), "parent")

    def _existing(self, name: str, field: str) -> str:
        if self._control.service(name) is None:
            raise _not_found(name, field)
        return name

    @contextlib.contextmanager
    def _stream(self) -> Any:
        if self._streams >= MAX_STREAMS:
            raise ResourceExhausted(
                f"{MAX_STREAMS} streams are open, as many as this agent serves: close some",
                reason="TOO_MANY_STREAMS", metadata={"maximum": str(MAX_STREAMS)},
            )  # fmt: skip
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1


def _page(looks: Looks[T], render: Callable[[T], M], request: Any, arguments: str, prefix: str = "") -> tuple[list[M], str]:
    """See pages.page(). Only what is on the page is looked at."""
    names = [(name, name) for name in looks.names if name.startswith(prefix)]
    return pages.page(names, lambda name: render(looks.look(name)), request.page_size, request.page_token, arguments)


async def _ticks(interval: float, samples: int) -> AsyncIterator[int]:
    """Yields at once and then every `interval` seconds, `samples` times (0: for ever), how many ticks passed by since the last one."""
    loop = asyncio.get_running_loop()
    pace = Pace(loop.time(), interval)
    taken = 0
    while not samples or taken < samples:
        while wait := pace.wait(loop.time()):
            await asyncio.sleep(wait)
        taken += 1
        yield pace.take(loop.time())


def _service(outcome: Outcome) -> virtual_service_pb2.VirtualService | None:
    return convert.service(outcome.service) if outcome.service else None


def _backend(outcome: Outcome) -> backend_pb2.Backend | None:
    return convert.backend(outcome.backend) if outcome.backend else None


def _list(outcome: Outcome) -> prefix_list_pb2.PrefixList | None:
    return convert.prefix_list(outcome.prefix_list) if outcome.prefix_list else None


def _not_found(name: str, field: str) -> NotFound:
    return NotFound(f"{name} does not exist", reason="NOT_FOUND", field=field, metadata={"name": name})
