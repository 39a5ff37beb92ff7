"""Who may use a virtual service: the parts of its message about limits and lists."""

from l4lb.v1 import virtual_service_pb2
from l4lb_agent.api import fields
from l4lb_agent.model.access.limits import DEFAULT_PREFIX_V4, DEFAULT_PREFIX_V6, NewFlowLimit, Rate


def limit(message: virtual_service_pb2.VirtualService) -> NewFlowLimit:
    """The limits of a virtual service, with what was left out."""
    asked = message.new_flow_limit
    return NewFlowLimit(
        _rate(asked.per_service) if asked.HasField("per_service") else None,
        _rate(asked.per_source) if asked.HasField("per_source") else None,
        asked.prefix_v4 or DEFAULT_PREFIX_V4,
        asked.prefix_v6 or DEFAULT_PREFIX_V6,
    )


def list_name(text: str, field: str) -> str:
    """The name of a list, or "" for none."""
    return fields.name(text, fields.LIST_NAME, field) if text else ""


def shown_limit(of: NewFlowLimit) -> virtual_service_pb2.NewFlowLimit | None:
    """The limits as the API shows them, None when there are none."""
    if not of:
        return None
    return virtual_service_pb2.NewFlowLimit(
        per_service=_shown_rate(of.per_service), per_source=_shown_rate(of.per_source), prefix_v4=of.prefix_v4, prefix_v6=of.prefix_v6
    )  # fmt: skip


def _rate(asked: virtual_service_pb2.FlowRate) -> Rate:
    return Rate(asked.flows_per_second, asked.burst or asked.flows_per_second)


def _shown_rate(of: Rate | None) -> virtual_service_pb2.FlowRate | None:
    return virtual_service_pb2.FlowRate(flows_per_second=of.flows_per_second, burst=of.burst) if of else None
