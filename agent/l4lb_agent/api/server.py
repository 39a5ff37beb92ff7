"""The gRPC server on a Unix socket: life and limits."""

from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from l4lb.v1 import service_pb2, service_pb2_grpc
from l4lb_agent.api import unix_socket
from l4lb_agent.api.guard import Guard
from l4lb_agent.api.roles import Role
from l4lb_agent.api.service import LoadBalancer
from l4lb_agent.control.facade import Control

SERVICE = service_pb2.DESCRIPTOR.services_by_name["LoadBalancerService"].full_name
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_CALLS = 1024
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # else a second agent would share the port
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 256),  # of one connection
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_connection_age_ms", 3_600_000),  # a caller whose access was withdrawn is gone after an hour
    ("grpc.max_connection_age_grace_ms", 10_000),
)


class ApiServer:
    """Serves `control` on `socket_path`, to callers who may open it: they have `role`. Answers from start() on, with health NOT_SERVING
    until serving(True). Hold the agent's lock before start()."""

    def __init__(self, control: Control, socket_path: Path, *, version: str, mode: int = 0o660, role: Role = Role.ADMIN) -> None:
        self._path = socket_path
        self._mode = mode
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(interceptors=[Guard(role)], options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        service_pb2_grpc.add_LoadBalancerServiceServicer_to_server(LoadBalancer(control, version), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self) -> None:
        """Binds and answers. Raises unix_socket.SocketRefused when the path is not free."""
        await self.serving(False)
        unix_socket.clear(self._path)
        with unix_socket.mode_at_creation(self._mode):
            self._server.add_insecure_port(f"unix:{self._path}")
        await self._server.start()

    async def serving(self, serving: bool) -> None:
        """Sets the health of the server and of the service."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in (health.OVERALL_HEALTH, SERVICE):
            await self._health.set(name, status)

    async def stop(self, grace: float) -> None:
        """Refuses new calls, gives those that run `grace` seconds, ends, and removes the socket."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
        self._path.unlink(missing_ok=True)
