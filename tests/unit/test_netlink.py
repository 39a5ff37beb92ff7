"""Requests to netlink are tried again when the failure passes by itself, and only so often."""

import errno
from collections.abc import Sequence
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

from l4lb_agent.system.netlink import ATTEMPTS, Netlink


class Script:
    """Stands in for AsyncIPRoute: raises what it is told, then answers."""

    def __init__(self, failures: Sequence[BaseException]) -> None:
        self.failures, self.requests, self.closed = list(failures), 0, 0

    async def route(self, command: str, **arguments: Any) -> list[str]:
        """A request."""
        self.requests += 1
        if self.failures:
            raise self.failures.pop(0)
        return [f"{command} {arguments['dst']}"]

    def close(self) -> None:
        """Close it."""
        self.closed += 1


@pytest.mark.parametrize(
    "failure",
    [
        NetlinkError(errno.ENOBUFS),
        NetlinkError(errno.EINTR),
        NetlinkError(errno.EAGAIN),
        NetlinkError(errno.EBUSY),
        NetlinkDumpInterrupted(),
    ],
)
async def test_transient_errors_are_tried_again(failure: NetlinkError) -> None:
    script = Script([failure, failure, failure])
    assert await Netlink(lambda: script).ask("route", "get", dst="192.0.2.1") == ["get 192.0.2.1"]
    assert script.requests == 4


async def test_the_attempts_are_bounded_and_the_error_says_what_was_asked() -> None:
    script = Script([NetlinkError(errno.ENOBUFS)] * 100)
    with pytest.raises(OSError, match=r"netlink route get .*192.0.2.1.*No buffer space") as caught:
        await Netlink(lambda: script).ask("route", "get", dst="192.0.2.1")
    assert (caught.value.errno, script.requests) == (errno.ENOBUFS, ATTEMPTS)


async def test_a_refusal_is_not_tried_again() -> None:
    script = Script([NetlinkError(errno.EPERM)])
    with pytest.raises(PermissionError):
        await Netlink(lambda: script).ask("route", "get", dst="192.0.2.1")
    assert script.requests == 1


async def test_a_broken_connection_is_replaced() -> None:
    broken, whole = Script([OSError(errno.ENOBUFS, "overflow")]), Script([])
    connections = iter([broken, whole])
    assert await Netlink(lambda: next(connections)).ask("route", "get", dst="192.0.2.1") == ["get 192.0.2.1"]
    assert (broken.closed, whole.requests) == (1, 1)
