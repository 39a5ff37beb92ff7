"""Who may call what: one table. A method that is not in it may be called by nobody."""

import enum
from collections.abc import Mapping
from typing import Final

_SERVICE = "/l4lb.v1.LoadBalancerService/"


class Role(enum.IntEnum):
    """What a caller may do; each role may also do what the smaller ones may."""

    VIEWER = 1  # reads
    OPERATOR = 2  # and changes the backends of the services and the prefixes of the lists there are
    ADMIN = 3  # and everything else


_METHODS = {
    "CreateVirtualService": Role.ADMIN,
    "GetVirtualService": Role.VIEWER,
    "ListVirtualServices": Role.VIEWER,
    "UpdateVirtualService": Role.ADMIN,
    "DeleteVirtualService": Role.ADMIN,
    "AddBackend": Role.OPERATOR,
    "GetBackend": Role.VIEWER,
    "ListBackends": Role.VIEWER,
    "UpdateBackend": Role.OPERATOR,
    "RemoveBackend": Role.OPERATOR,
    "DrainBackend": Role.OPERATOR,
    "UndrainBackend": Role.OPERATOR,
    "CreatePrefixList": Role.ADMIN,
    "GetPrefixList": Role.VIEWER,
    "ListPrefixLists": Role.VIEWER,
    "UpdatePrefixList": Role.OPERATOR,
    "DeletePrefixList": Role.ADMIN,
    "WatchBackends": Role.VIEWER,
    "StreamStats": Role.VIEWER,
    "ListFlows": Role.VIEWER,
    "GetRing": Role.VIEWER,
    "Explain": Role.VIEWER,
    "CapturePackets": Role.OPERATOR,
    "DumpRecord": Role.OPERATOR,
    "ListDumps": Role.VIEWER,
    "ReadDump": Role.OPERATOR,
    "GetAgent": Role.VIEWER,
    "Diagnose": Role.VIEWER,
    "GetConfig": Role.VIEWER,
}
ALLOWED: Final[Mapping[str, Role]] = {
    **{_SERVICE + name: role for name, role in _METHODS.items()},
    "/grpc.health.v1.Health/Check": Role.VIEWER,
    "/grpc.health.v1.Health/List": Role.VIEWER,
    "/grpc.health.v1.Health/Watch": Role.VIEWER,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Role.VIEWER,
}
# Into packets: that holds more than a viewer may see, and changes nothing.
LOOKS: Final = frozenset({"CapturePackets", "DumpRecord", "ReadDump"})
# Those that change something.
MUTATIONS: Final = frozenset(_SERVICE + name for name, role in _METHODS.items() if role > Role.VIEWER and name not in LOOKS)


def allowed(role: Role, method: str) -> bool:
    """Whether `role` may call `method`, the full path of an rpc."""
    return method in ALLOWED and role >= ALLOWED[method]
