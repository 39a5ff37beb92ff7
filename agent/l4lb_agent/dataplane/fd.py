"""Ownership of one file descriptor."""

import os


class Fd:
    """Owner of one file descriptor; closed by `close`, by leaving `with`, or with the object."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        """The descriptor; raises ValueError after close."""
        if self._number < 0:
            raise ValueError("the file descriptor is closed")
        return self._number

    def close(self) -> None:
        """Close it; further calls do nothing."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def __enter__(self) -> "Fd":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_number", -1) >= 0:
            self.close()
