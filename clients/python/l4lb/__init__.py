"""Client of the l4lb load balancer.

    lb = l4lb.Client("unix:///run/l4lb/admin.sock")
    lb.create_service("web", vip="192.0.2.10", port=80)

`Client` and `AsyncClient` have the same methods; `l4lb.v1` is the generated code underneath. Names are imported when they are first used:
gRPC takes a fifth of a second, which `l4lbctl --help` need not pay.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l4lb.aio import AsyncClient as AsyncClient
    from l4lb.client import Client as Client
    from l4lb.errors import Error as Error
    from l4lb.streams import DrainProgress as DrainProgress
    from l4lb.streams import Event as Event

__version__ = "0.1.0"
DEFAULT_TARGET = "unix:///run/l4lb/admin.sock"
_HOMES = {"AsyncClient": "aio", "Client": "client", "Error": "errors", "DrainProgress": "streams", "Event": "streams"}
__all__ = ["DEFAULT_TARGET", "AsyncClient", "Client", "DrainProgress", "Error", "Event"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'l4lb' has no attribute {name!r}")
    return getattr(importlib.import_module(f"l4lb.{_HOMES[name]}"), name)
