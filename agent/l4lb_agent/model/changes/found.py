"""Resources by name: there, and of the version that a command is about; or an error that says what is wrong."""

from collections.abc import Mapping
from typing import TypeVar

from l4lb_agent.model.access.lists import PrefixList
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.errors import Aborted, NotFound
from l4lb_agent.model.service import VirtualService

Resource = TypeVar("Resource", VirtualService, Backend, PrefixList)


def known(resources: Mapping[str, Resource], name: str, field: str, etag: str, etag_field: str) -> Resource:
    """The resource `name`. Raises NotFound, or Aborted when `etag` is given and another one."""
    found = resources.get(name)
    if found is None:
        raise missing(name, field)
    if etag and etag != found.etag:
        raise Aborted(
            f"{etag_field}: {name} has changed since it was read: read it again and repeat the change",
            reason="ETAG_MISMATCH",
            field=etag_field,
            metadata={"resource": name, "etag": found.etag},
        )
    return found


def missing(name: str, field: str) -> NotFound:
    """The error for a name that no resource has."""
    return NotFound(f"{name} does not exist", reason="NOT_FOUND", field=field, metadata={"resource": name})
