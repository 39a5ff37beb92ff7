"""Why a probe failed, from what the kernel, TLS and the peer said."""

import errno
import os
import ssl

from l4lb_agent.model.health.outcome import Why

# What is not here is this host's own doing: no port, no file descriptor, no memory, or a filter of its own.
_OF_THE_BACKEND = {
    errno.ETIMEDOUT: Why.TIMEOUT,
    errno.ECONNREFUSED: Why.REFUSED,
    errno.ECONNRESET: Why.RESET,
    errno.ECONNABORTED: Why.RESET,
    errno.EPIPE: Why.RESET,
    errno.EHOSTUNREACH: Why.UNREACHABLE,
    errno.ENETUNREACH: Why.UNREACHABLE,
    errno.EHOSTDOWN: Why.UNREACHABLE,
    errno.ENETDOWN: Why.UNREACHABLE,
    errno.ENOPROTOOPT: Why.UNREACHABLE,  # ICMP protocol unreachable
    errno.EPROTO: Why.UNREACHABLE,
}


class Failed(Exception):
    """A probe's failure: `detail` says it in words."""

    def __init__(self, why: Why, detail: str) -> None:
        super().__init__(detail)
        self.why = why
        self.detail = detail


def unexpected(answer: bytes) -> Failed:
    """The failure of an answer that is another than expected: how it begins."""
    return Failed(Why.ANSWER, f"answered {printable(answer[:80])!r}")


def too_early() -> Failed:
    """The failure of a peer that has said less than it should."""
    return Failed(Why.RESET, "closed before the answer was whole")


def of_error(error: OSError) -> Failed:
    """The failure behind an error of a socket or of TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failed(Why.TLS, printable(error.verify_message))
    if isinstance(error, ssl.SSLError):
        return Failed(Why.TLS, printable(str(error).partition("] ")[2].partition(" (_ssl.c")[0] or str(error)))
    number = error.errno or 0
    return Failed(_OF_THE_BACKEND.get(number, Why.OWN_FAULT), os.strerror(number) if number else printable(str(error)))


def printable(text: str | bytes) -> str:
    """What a peer said, fit for logs and terminals."""
    words = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return "".join(one if one.isprintable() else "?" for one in words)
