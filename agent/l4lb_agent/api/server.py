"""The gRPC API on every door: life, health, and what is not as configured."""

import asyncio
from collections.abc import Callable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from l4lb.v1 import service_pb2, service_pb2_grpc
from l4lb_agent.api import listener
from l4lb_agent.api.audit import Audit, Entry
from l4lb_agent.api.caller import Caller
from l4lb_agent.api.doors import TlsDoor, UnixDoor
from l4lb_agent.api.listener import Before
from l4lb_agent.api.service import LoadBalancer
from l4lb_agent.control.facade import Control, Outcome
from l4lb_agent.control.ports import AuditFile

AGENT = Caller(None, "agent")  # who ends drains
SERVICE = service_pb2.DESCRIPTOR.services_by_name["LoadBalancerService"].full_name


class ApiServer:
    """Serves `control` behind `doors`, to each caller what their role allows. Answers from start() on, with health NOT_SERVING until
    serving(True). Hold the agent's lock before start()."""

    def __init__(
        self, control: Control, doors: Sequence[UnixDoor | TlsDoor], audit_file: AuditFile, *, version: str, before: Before = ()
    ) -> None:
        """`before` stands before the guard of each door."""
        self.warned: list[Callable[[], list[tuple[str, str]]]] = []  # more that GetAgent is to warn of
        self._health = health.aio.HealthServicer()
        self._service = LoadBalancer(control, version, self.warnings)
        self.audit = Audit(audit_file)
        self._own: set[asyncio.Task[None]] = set()
        control.listen(self._changed)
        self._listeners = [listener.listener(door, self._serve, self.audit, before) for door in doors]
        self._open: list[listener.Listener] = []

    def _serve(self, server: grpc.aio.Server) -> None:
        service_pb2_grpc.add_LoadBalancerServiceServicer_to_server(self._service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)

    async def start(self) -> None:
        """Opens every door and answers. Raises unix_socket.SocketRefused when the path of one is not free; then none is open."""
        await self.serving(False)
        try:
            for one in self._listeners:
                await one.start()
                self._open.append(one)
        except BaseException:
            await self.stop(0)
            raise

    async def serving(self, serving: bool) -> None:
        """Sets the health of the server and of the service."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in (health.OVERALL_HEALTH, SERVICE):
            await self._health.set(name, status)

    def reload(self) -> None:
        """Takes over certificates that were replaced, at once: without this they are seen at the next handshake, or after 2 s."""
        for one in self._open:
            one.look()

    def warnings(self) -> list[tuple[str, str]]:
        """(reason, message) of what is not as configured."""
        sources = [*(one.warnings for one in self._open), self.audit.warnings, *self.warned]
        return [warning for source in sources for warning in source()]

    def _changed(self, outcome: Outcome) -> None:
        """Audits what the agent did by itself."""
        task = asyncio.create_task(self.audit.write(Entry(AGENT, "", outcome=outcome)))
        self._own.add(task)
        task.add_done_callback(self._own.discard)

    async def stop(self, grace: float) -> None:
        """Refuses new calls, gives those that run `grace` seconds, ends, and removes the sockets."""
        await self._health.enter_graceful_shutdown()
        await asyncio.gather(*(one.stop(grace) for one in self._open))
        self._open = []
        if self._own:
            await asyncio.wait(self._own, timeout=listener.FINISH_SECONDS)
