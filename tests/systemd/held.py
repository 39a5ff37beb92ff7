"""One thread of a process that stands still while the others go on, as it does in a call that never returns: held by ptrace(2)."""

import ctypes
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Final

_SEIZE, _CONT, _INTERRUPT = 0x4206, 7, 0x4207  # ptrace(2)
_WALL: Final = 0x40000000  # waitpid(2): threads too
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
ENDED_SECONDS: Final = 30.0


class Held:
    """Entered, the thread `tid` stands still in a system call: there a thread of Python keeps nothing that the others need. Left, its
    process must have ended. What holds it is a thread of ours, since the kernel wants all of it to come from one; it also sees the process
    out, of which the real parent hears only then."""

    def __init__(self, tid: int) -> None:
        self._tid, self._held, self._failed = tid, threading.Event(), ""
        self._thread = threading.Thread(target=self._hold, daemon=True)

    def __enter__(self) -> "Held":
        self._thread.start()
        assert self._held.wait(ENDED_SECONDS), "it cannot be held"
        assert not self._failed, self._failed
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.join(ENDED_SECONDS)
        assert kind or not self._thread.is_alive(), "it has not ended"

    def _hold(self) -> None:
        try:
            self._ask(_SEIZE)
            self._stop()
            while not Path(f"/proc/{self._tid}/syscall").read_text()[0].isdigit():
                self._ask(_CONT)
                self._stop()
        except OSError as error:
            self._failed = str(error)
        finally:
            self._held.set()
        while not self._failed and os.WIFSTOPPED(os.waitpid(self._tid, _WALL)[1]):
            pass

    def _stop(self) -> None:
        self._ask(_INTERRUPT)
        os.waitpid(self._tid, _WALL)

    def _ask(self, request: int) -> None:
        if _LIBC.ptrace(request, self._tid, None, None) < 0:
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x}: {os.strerror(ctypes.get_errno())}")
