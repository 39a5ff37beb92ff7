"""Callers without manners: what they cost is bounded, the others are served, and everything is given back. Loads are bounded in number."""

import contextlib
import dataclasses
import gzip
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import l4lb
from l4lb.v1 import service_pb2 as pb
from l4lb.v1 import service_pb2_grpc
from l4lb_agent.api.service import MAX_STREAMS
from tests.remote import http2
from tests.remote.conftest import Pki, until

MIB = 1 << 20
ROOT = Path(__file__).parents[2]


class Process:
    """A server process."""

    def __init__(self, pki: Pki, folder: Path, **changes: Any) -> None:
        self.pki, self.door = pki, pki.door(**changes)
        self.log = folder / "log"
        argument = json.dumps({name: str(v) if isinstance(v, Path) else v for name, v in dataclasses.asdict(self.door).items()})
        command = [sys.executable, "-m", "tests.remote.serving", argument]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=ROOT)
        assert self._process.stdout
        assert self._process.stdout.readline() == b"ready\n", self.log.read_text()
        self.tls = http2.context(pki.files("admin"))
        with self.client() as lb:
            lb.agent()

    def client(self, **options: Any) -> l4lb.Client:
        """A good client."""
        return l4lb.Client(self.door.listen, **self.pki.files("admin"), **options)

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """Open ones."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def alive(self) -> bool:
        """Whether it answers somebody new."""
        assert self._process.poll() is None, self.log.read_text()
        with self.client() as lb:
            return bool(lb.agent().version == "1.2.3")

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


@pytest.fixture
def start(shared_pki: Pki, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Makes servers that end with the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    made: list[Process] = []

    def begin(**changes: Any) -> Process:
        made.append(Process(shared_pki, tmp_path, **changes))
        return made[-1]

    yield begin
    for process in made:
        process.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def opened(make: Callable[[], socket.socket], count: int, closing: contextlib.ExitStack) -> list[socket.socket]:
    return [closing.enter_context(make()) for _ in range(count)]


def test_500_clients_that_never_read_their_statistics_cost_little_and_delay_nobody(start: Callable[..., Process]) -> None:
    served = start()
    request = http2.message(pb.StreamStatsRequest(interval={"nanos": 100_000_000}).SerializeToString())
    before, descriptors = served.memory(), served.descriptors()
    with contextlib.ExitStack() as closing, served.client(timeout=20) as good:
        good.agent()
        for _ in range(500):
            slow = closing.enter_context(http2.connected(served.door.listen, served.tls, initial_window=1024))
            slow.sendall(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.call("StreamStats")))
            slow.sendall(http2.frame(http2.DATA, http2.END_STREAM, 1, request))
        end = time.monotonic() + 3
        while time.monotonic() < end:
            good.agent()
        assert served.memory() - before <= 64 * MIB, f"{(served.memory() - before) / MIB:.0f} MiB"
        for sample in good.stats(interval=0.1, samples=3):
            assert sample.maps
    until(lambda: served.descriptors() <= descriptors, "descriptors are given back")
    assert served.alive()


def test_streams_beyond_the_limit_are_refused_by_name_and_places_come_back(start: Callable[..., Process]) -> None:
    served = start()
    channels = [grpc.secure_channel(served.door.listen, served_credentials(served), options=[("grpc.use_local_subchannel_pool", 1)])
                for _ in range(3)]  # fmt: skip
    stubs = [service_pb2_grpc.LoadBalancerServiceStub(channel) for channel in channels]
    request = pb.StreamStatsRequest(interval={"seconds": 3600})
    streams = [stubs[i % 3].StreamStats(request) for i in range(MAX_STREAMS)]
    for stream in streams:
        next(stream)
    with pytest.raises(grpc.RpcError) as failure:
        next(stubs[0].StreamStats(request, timeout=10))
    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert stubs[0].GetAgent(pb.GetAgentRequest(), timeout=10).agent.version == "1.2.3", "calls have their share"
    streams[0].cancel()

    def free() -> bool:
        try:
            next(stubs[1].StreamStats(pb.StreamStatsRequest(samples=1), timeout=10))
        except grpc.RpcError:
            return False
        return True

    until(free, "a place comes back")
    for channel in channels:
        channel.close()


def served_credentials(served: Process) -> grpc.ChannelCredentials:
    files = served.pki.files("admin")
    return grpc.ssl_channel_credentials(files["ca"].read_bytes(), files["key"].read_bytes(), files["cert"].read_bytes())


def silent(served: Process) -> socket.socket:
    """TCP, and not a byte."""
    return http2.raw(served.door.listen)


def hesitant(served: Process) -> socket.socket:
    """The first bytes of a TLS handshake."""
    connection = http2.raw(served.door.listen)
    connection.sendall(b"\x16\x03\x01\x02\x00\x01")
    return connection


def mute(served: Process) -> socket.socket:
    """TLS, and no HTTP/2."""
    return served.tls.wrap_socket(http2.raw(served.door.listen), server_hostname="127.0.0.1")


def stuttering(served: Process) -> socket.socket:
    """Half an HTTP/2 preface."""
    connection = served.tls.wrap_socket(http2.raw(served.door.listen), server_hostname="127.0.0.1")
    connection.sendall(http2.PREFACE[:10])
    return connection


@pytest.mark.parametrize("kind", [silent, hesitant, mute, stuttering])
def test_a_handshake_that_does_not_get_on_is_ended_in_time(start: Callable[..., Process], kind: Callable[[Process], socket.socket]) -> None:
    served = start(handshake_timeout=2)
    descriptors = served.descriptors()
    with contextlib.ExitStack() as closing:
        took = http2.ended(opened(lambda: kind(served), 20, closing), 15)
    assert len(took) == 20
    assert min(took) > 0.5, "they had their time"
    until(lambda: served.descriptors() <= descriptors, "descriptors are given back")
    assert served.alive()


def test_2000_half_open_connections_are_capped_and_those_inside_notice_nothing(start: Callable[..., Process]) -> None:
    served = start(max_connections=100, handshake_timeout=3)
    descriptors, memory = served.descriptors(), served.memory()
    with contextlib.ExitStack() as closing, served.client() as inside:
        samples = inside.stats(interval=0.1)
        next(samples)
        crowd = opened(lambda: http2.raw(served.door.listen), 2000, closing)
        inside.agent()
        next(samples)
        assert served.descriptors() <= descriptors + 110, "no more than the cap"
        assert len(http2.ended(crowd, 30)) == 2000, "all are closed: those beyond the cap at once, the others when their time is up"
        next(samples)
        assert served.alive(), "somebody new gets in"
    until(lambda: served.descriptors() <= descriptors, "descriptors are given back")
    assert served.memory() - memory <= 32 * MIB


def test_one_byte_a_second_of_a_handshake_is_not_enough(start: Callable[..., Process]) -> None:
    served = start(handshake_timeout=2)
    with http2.raw(served.door.listen) as slow:
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012 (which of the bytes it is, is not known)
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20):
                slow.send(bytes((byte,)))
                time.sleep(0.5)
        assert time.monotonic() - began < 12
    assert served.alive()


@pytest.mark.parametrize("length", [5 * MIB, 64 * MIB, 2**31 - 1, 2**32 - 1])
def test_a_message_that_says_it_is_too_long_is_refused_before_it_comes(start: Callable[..., Process], length: int) -> None:
    served = start()
    before = served.memory()
    with http2.connected(served.door.listen, served.tls) as rude:
        rude.sendall(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.call("GetBackend")))
        rude.sendall(http2.frame(http2.DATA, 0, 1, http2.message(b"x" * 1000, length=length)))
        assert http2.answer(rude)[-1] in (http2.HEADERS, http2.RST_STREAM, http2.GOAWAY)
    assert served.memory() - before <= 32 * MIB
    assert served.alive()


def test_a_compressed_message_that_unpacks_to_a_gigabyte_is_refused(start: Callable[..., Process]) -> None:
    served = start()
    before = served.memory()
    bomb = b"".join(gzip.compress(bytes(64 * MIB)) for _ in range(16))  # members of one stream, RFC 1952
    with http2.connected(served.door.listen, served.tls) as rude:
        rude.sendall(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.call("GetBackend", grpc_encoding="gzip")))
        body = http2.message(bomb, compressed=True)
        with contextlib.suppress(OSError):  # refused before all of it is sent
            for i in range(0, len(body), 16384):
                rude.sendall(http2.frame(http2.DATA, http2.END_STREAM if i + 16384 >= len(body) else 0, 1, body[i : i + 16384]))
        assert http2.answer(rude, 60)[-1] in (http2.HEADERS, http2.RST_STREAM, http2.GOAWAY)
    assert served.memory() - before <= 32 * MIB, f"{(served.memory() - before) / MIB:.0f} MiB"
    assert served.alive()


def test_a_request_of_5_mib_is_refused_by_name(start: Callable[..., Process]) -> None:
    served = start()
    with grpc.secure_channel(served.door.listen, served_credentials(served)) as channel, pytest.raises(grpc.RpcError) as failure:
        service_pb2_grpc.LoadBalancerServiceStub(channel).GetBackend(pb.GetBackendRequest(name="x" * 5 * MIB), timeout=10)
    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.alive()


def test_100000_headers_are_refused(start: Callable[..., Process]) -> None:
    served = start()
    before = served.memory()
    block = http2.call("GetAgent") + b"".join(http2.literal(f"x-{i}", "y") for i in range(100_000))
    parts = [block[i : i + 16384] for i in range(0, len(block), 16384)]
    with http2.connected(served.door.listen, served.tls) as rude:
        with contextlib.suppress(OSError):
            rude.sendall(http2.frame(http2.HEADERS, 0, 1, parts[0]))
            for part in parts[1:]:
                rude.sendall(http2.frame(http2.CONTINUATION, 0, 1, part))
            rude.sendall(http2.frame(http2.CONTINUATION, http2.END_HEADERS, 1, b""))
            rude.sendall(http2.frame(http2.DATA, http2.END_STREAM, 1, http2.message()))
        assert http2.answer(rude)[-1] in (http2.HEADERS, http2.RST_STREAM, http2.GOAWAY)
    assert served.memory() - before <= 32 * MIB, f"{(served.memory() - before) / MIB:.0f} MiB"
    metadata = [(f"x-{i}", "y") for i in range(1000)]  # 38 KB as RFC 9113 counts them
    with grpc.secure_channel(served.door.listen, served_credentials(served)) as channel, pytest.raises(grpc.RpcError) as failure:
        service_pb2_grpc.LoadBalancerServiceStub(channel).GetAgent(pb.GetAgentRequest(), metadata=metadata, timeout=10)
    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.alive()


@pytest.mark.parametrize("reset", [False, True], ids=["10000 open streams", "10000 streams that are reset at once"])
def test_many_streams_on_one_connection_cost_little(start: Callable[..., Process], reset: bool) -> None:
    served = start()
    before = served.memory()
    block = http2.call("WatchBackends")
    with http2.connected(served.door.listen, served.tls) as rude, served.client(timeout=20) as good:
        with contextlib.suppress(OSError):
            for stream in range(1, 20_000, 2):
                frames = http2.frame(http2.HEADERS, http2.END_HEADERS, stream, block)
                rude.sendall(frames + (http2.frame(http2.RST_STREAM, 0, stream, bytes(4)) if reset else b""))
        good.agent()
        assert served.memory() - before <= 32 * MIB, f"{(served.memory() - before) / MIB:.0f} MiB"
    assert served.alive()


def garbage() -> bytes:
    return os.urandom(300)


SCRIBBLES: dict[str, Callable[[], bytes]] = {
    "garbage": garbage,
    "HTTP/1.1": lambda: b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n",
    "HTTP/2 without TLS": lambda: http2.PREFACE + http2.settings({}),
    "half a TLS record": lambda: b"\x16\x03\x01\x02\x00" + os.urandom(100),
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("what", SCRIBBLES)
def test_1000_connections_of_scribble_leave_no_trace(start: Callable[..., Process], what: str) -> None:
    served = start()
    lines, descriptors, before = served.log.read_bytes().count(b"\n"), served.descriptors(), served.memory()
    for _ in range(1000):
        with http2.raw(served.door.listen) as connection, contextlib.suppress(OSError):
            connection.sendall(SCRIBBLES[what]())
    assert served.alive()
    until(lambda: served.descriptors() <= descriptors, "descriptors are given back")
    assert served.memory() - before <= 32 * MIB
    assert served.log.read_bytes().count(b"\n") - lines <= 10, "strangers do not write the log"


def test_half_frames_after_a_good_handshake_are_forgotten(start: Callable[..., Process]) -> None:
    served = start()
    descriptors = served.descriptors()
    whole = http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.call("GetAgent"))
    for size in range(1, 200, 2):
        with http2.connected(served.door.listen, served.tls) as connection, contextlib.suppress(ssl.SSLError):
            connection.sendall(whole[:size])
    assert served.alive()
    until(lambda: served.descriptors() <= descriptors, "descriptors are given back")
