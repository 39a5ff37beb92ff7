"""The way of probes of a VIP out of this host: marked sockets, the veth pair, and behind it the datapath's program for probes, which sends
each packet to the backend that its source port stands for. The backend answers as it answers clients, to this host's own address."""

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable
from typing import Final, Protocol

from l4lb_agent.model.address import Address
from l4lb_agent.model.health.check import By, Target
from l4lb_agent.model.health.outcome import Why
from l4lb_agent.model.health.passing import Fate, Place, stopped
from l4lb_agent.system.netlink import Netlink
from l4lb_agent.system.probing import pair
from l4lb_agent.system.probing.failure import Failed
from l4lb_agent.system.probing.pair import Numbers

PAUSE_SECONDS: Final = 1.0  # between two attempts to make the pair
LONGEST_SECONDS: Final = 60.0  # that it is left as it is when making it anew does not help
_LOOK_SECONDS: Final = 0.02  # between two looks whether the backend has a way
_RTN_LOCAL: Final = 2
_REFUSED: Final = (errno.EXDEV, errno.EINVAL)  # by the reverse-path filter; a source that cannot be

_log = logging.getLogger("l4lb_agent.probing")


class Door(Protocol):
    """What dataplane/probes.py does."""

    def attach(self, ifindex: int) -> None:
        """Take what comes by an interface. Raises OSError."""

    def detach(self) -> None:
        """Take nothing any more."""

    def reaches(self, backend: int) -> bool:
        """Whether the datapath knows a way to the backend of this id."""

    def begin(self, family: int, protocol: int, port: int, place: Place) -> bool:
        """Send what comes from this port to that backend; False when another probe has the port. Raises OSError."""

    def end(self, family: int, protocol: int, port: int) -> Fate:
        """Do so no more, and say what has become of it."""


class Passage:
    """Made with the first probe that needs it."""

    def __init__(self, door: Door, numbers: Numbers) -> None:
        self.door, self.numbers = door, numbers
        self.netlink = Netlink()
        self._making = asyncio.Lock()
        self._made = False
        self._failed = (-PAUSE_SECONDS, "")  # when, monotonic, and why
        self._stays = 0.0  # until when it is left as it is, monotonic, and for how long the next time
        self._stay = PAUSE_SECONDS

    async def ready(self) -> None:
        """Returns when it is there. Raises Failed with OWN_FAULT when it cannot be made."""
        async with self._making:
            if self._made:
                return
            when, why = self._failed
            if time.monotonic() < when + PAUSE_SECONDS:
                raise Failed(Why.OWN_FAULT, why)
            try:
                self.door.detach()
                await asyncio.to_thread(self.door.attach, await pair.make(self.netlink, self.numbers))
            except OSError as error:
                self._failed = (time.monotonic(), f"the way of probes of VIPs cannot be made: {error.strerror or error}")
                _log.warning("event=probe_way_failed error=%r", self._failed[1])
                raise Failed(Why.OWN_FAULT, self._failed[1]) from error
            self._made = True
            _log.info("event=probe_way_made interface=%s mark=%d table=%d", pair.OUT, self.numbers.mark, self.numbers.table)

    async def lost(self, vip: Address) -> str:
        """Why none of a probe's packets came to the program. What is not whole any more is made anew with the next probe, each time after a
        longer while: where that does not help, probes of others are not to suffer."""
        family = socket.AF_INET if vip.family == 4 else socket.AF_INET6
        try:
            [way] = await self.netlink.ask("route", "get", dst=str(vip), mark=self.numbers.mark)
            if way["type"] == _RTN_LOCAL:
                return "the VIP is an address of this host: what is sent there stays here"
            if await pair.whole(self.netlink, self.numbers, family):
                return f"another rule leads elsewhere: ip route get {vip} mark 0x{self.numbers.mark:x}"
        except OSError:
            pass  # what is missing is not found
        now = time.monotonic()
        if self._made and now < self._stays:
            return f"{pair.OUT}, or its rule or route for IPv{vip.family}, is missing, though it has been made anew"
        if self._made:
            self._stay = min(2 * self._stay, LONGEST_SECONDS) if now < self._stays + LONGEST_SECONDS else PAUSE_SECONDS
            self._stays = now + self._stay
            self._made, self._failed = False, (now, "the way of probes of VIPs was taken away, and is made anew")
            _log.warning("event=probe_way_lost interface=%s", pair.OUT)
        return self._failed[1]

    async def clear(self) -> None:
        """Takes away what there is of it, of an agent before this one, too."""
        self.door.detach()
        self._made = False
        await clear()
        self.netlink.close()

    async def refuses(self, vip: Address, own: str, by: Address) -> str:
        """Why this host would not take the backend's answers in, "" when it would: the kernel is asked."""
        try:
            iif = (await self.netlink.ask("route", "get", dst=str(by)))[0].get("oif")
            await self.netlink.ask("route", "get", dst=own, src=str(vip), iif=iif)
        except OSError as error:
            if error.errno in _REFUSED:
                return f"this host takes no packet from {vip} in by where {by} is: rp_filter is strict there, or the VIP its own address"
        return ""


async def clear() -> None:
    """Takes away what an agent has left of a passage, and says what it could not."""
    netlink = Netlink()
    try:
        await pair.remove(netlink)
    except OSError as error:
        if error.errno != errno.EBUSY:  # another agent's, which needs it
            _log.warning("event=probe_way_left error=%r", error.strerror or str(error))
    finally:
        netlink.close()


class Passing:
    """One probe's use of it: wait(), then prepare() of its only socket, at the end judged(), and close() in any case."""

    def __init__(self, passage: Passage, target: Target, by: By, place: Callable[[], Place | None]) -> None:
        self._passage, self._target, self._by, self._place = passage, target, by, place
        self._found: Place | None = None
        self._reached = False
        self._own = ""
        self._port: tuple[int, int, int] | None = None

    async def wait(self) -> None:
        """Until the datapath has the backend, and a way to it."""
        while not self._reached:
            self._found = self._place()
            self._reached = bool(self._found and self._passage.door.reaches(self._found.backend))
            if not self._reached:
                await asyncio.sleep(_LOOK_SECONDS)

    def prepare(self, made: socket.socket) -> None:
        """Leads what the socket will send to the backend. Raises Failed."""
        assert self._found
        try:
            self._own = _own_address(self._target.address, self._by.address)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self._passage.numbers.mark)
            family, protocol = self._target.address.family, int(made.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL))
            made.bind((self._own, 0))
            port = made.getsockname()[1]
            if not self._passage.door.begin(family, protocol, port, self._found):
                raise OSError(errno.EADDRINUSE, f"port {port} has another probe")
        except OSError as error:
            raise Failed(Why.OWN_FAULT, f"preparing the socket: {error.strerror or error}") from error
        self._port = (family, protocol, port)

    async def judged(self, why: Why, detail: str) -> tuple[Why, str]:
        """What a probe has shown that ended for its socket as `why`."""
        if not self._reached and why is Why.TIMEOUT:
            return (Why.UNREACHABLE, "its next hop is not resolved") if self._found else (Why.OWN_FAULT, "the datapath has it not yet")
        if self._port is None:
            return why, detail
        fate = self._passage.door.end(*self._port)
        self._port = None
        if not fate.packets:
            return Why.OWN_FAULT, await self._passage.lost(self._target.address)
        said = stopped(fate)
        if said is not None:
            return said
        if why is Why.TIMEOUT and (refused := await self._passage.refuses(self._target.address, self._own, self._by.address)):
            return Why.OWN_FAULT, refused
        return why, detail

    def close(self) -> None:
        """Nothing of it is left."""
        if self._port is not None:
            self._passage.door.end(*self._port)
            self._port = None


def is_here(address: Address) -> bool:
    """Whether it is an address of this host, which reaches it by itself."""
    try:
        return _own_address(address, address) == str(address)
    except OSError:
        return False


def _own_address(vip: Address, by: Address) -> str:
    """This host's address that the backend is to answer, of the VIP's family: the one by which it is reached from here. Raises OSError."""
    family = socket.AF_INET if vip.family == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asked:
        asked.connect((str(by if by.family == vip.family else vip), 9))
        return str(asked.getsockname()[0])
