"""What several resources have: addresses and times."""

from google.protobuf.timestamp_pb2 import Timestamp

from l4lb_agent.api import fields
from l4lb_agent.model.address import Address


def address(text: str, field: str) -> Address:
    """The address that a field must hold."""
    if not text:
        raise fields.required(field)
    return Address.parse(text, field)


def moment(seconds: float | None) -> Timestamp | None:
    """`seconds` since 1970; None for "never", which is None or 0."""
    if not seconds:
        return None
    whole, micros = divmod(round(seconds * 1e6), 1_000_000)
    return Timestamp(seconds=whole, nanos=micros * 1000)
