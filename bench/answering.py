"""`python -m bench.answering PORT`: takes every connection and closes it, until it is ended. Prints a line once it listens."""

import socket
import sys
from typing import Final

_BACKLOG: Final = 65535


def main(port: int) -> None:
    """For ever."""
    with socket.create_server(("", port), backlog=_BACKLOG) as server:
        print("ready", flush=True)
        while True:
            taken, _ = server.accept()
            taken.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
