"""What the blocking and the asyncio client have in common: how they connect, retry and wait."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import grpc
import tenacity

from l4lb.errors import Error
from l4lb.streams import DrainProgress, Stream
from l4lb.v1.backend_pb2 import Backend

CALL_SECONDS = 10.0
RESUME_SECONDS = 60.0
ATTEMPTS = 5  # at one call that finds no agent
OPTIONS = (
    # repetition() is in its place: after the last of gRPC's own attempts the first message of a stream may be waited for without end.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Little is taken from the agent before it is asked for: who reads statistics slowly gets fresh ones, not those that wait in a window.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4096),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

File = str | PathLike[str]


@dataclass(frozen=True)
class Tls:
    """PEM files for an agent at host:port: who signs for agents, this controller's certificate and its key. `server_name` is the name or
    address in the agent's certificate when it is not the one in the target, for instance behind a tunnel."""

    ca: File | None = None
    cert: File | None = None
    key: File | None = None
    server_name: str = ""

    def credentials(self, target: str) -> grpc.ChannelCredentials | None:
        """For `target`, None for a Unix socket. Raises ValueError when one is given too few or too many files, OSError for files that
        cannot be read."""
        given = [file for file in (self.ca, self.cert, self.key) if file]
        if target.startswith(("unix:", "unix-abstract:")):
            if given or self.server_name:
                raise ValueError(f"{target} is a Unix socket, which takes no certificates: leave ca, cert, key and server_name out")
            return None
        if len(given) < 3:
            raise ValueError(f"{target} is reached by TLS only: give ca, cert and key")
        ca, cert, key = (Path(file).read_bytes() for file in given)
        return grpc.ssl_channel_credentials(ca, key, cert)

    @property
    def options(self) -> list[tuple[str, Any]]:
        """Options of the channel."""
        return [*OPTIONS, *([("grpc.ssl_target_name_override", self.server_name)] if self.server_name else [])]


def repetition(timeout: float) -> dict[str, Any]:
    """Arguments of the tenacity object that makes a call again which may take `timeout` seconds in all. UNAVAILABLE alone is tried again:
    a change carries its request_id, so that the agent does it once (AIP-194)."""
    return {
        "retry": tenacity.retry_if_exception(lambda error: isinstance(error, Error) and error.code == "UNAVAILABLE"),
        "wait": tenacity.wait_exponential(multiplier=0.2, max=2) + tenacity.wait_random(0, 0.1),
        "stop": tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_before_delay(timeout),
        "reraise": True,
    }


def resumption(stream: Stream[Any], patience: float) -> dict[str, Any]:
    """Arguments of the tenacity object that connects a stream again: as long as the stream wants it, for at most `patience` seconds."""
    return {
        "retry": tenacity.retry_if_exception(stream.again),
        "wait": tenacity.wait_random_exponential(multiplier=0.1, max=2),
        "stop": tenacity.stop_after_delay(patience),
        "reraise": True,
    }


def left(end: float | None) -> float | None:
    """Seconds until `end` of time.monotonic(), for a gRPC deadline."""
    return None if end is None else max(0.001, end - time.monotonic())


def reported(backend: Backend, on_progress: Callable[[DrainProgress], object] | None) -> bool:
    """Tells `on_progress` how far the drain is; whether it has ended."""
    progress = DrainProgress.of(backend)
    if on_progress is not None:
        on_progress(progress)
    return progress.done


def ended(name: str) -> Error:
    """The error of a watch that the agent ended by itself."""
    return Error("UNAVAILABLE", f"the agent ended the watch of {name}", reason="WATCH_ENDED", metadata={"name": name})
