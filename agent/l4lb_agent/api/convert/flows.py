"""Flows as the API shows them, and which ones a request asks for."""

import dataclasses
from collections.abc import Iterable, Mapping

from google.protobuf.duration_pb2 import Duration

from l4lb.v1 import flow_pb2, service_pb2
from l4lb_agent.api import fields
from l4lb_agent.control.facade import FlowPage, FlowsWanted
from l4lb_agent.model.address import Address
from l4lb_agent.model.errors import InvalidArgument
from l4lb_agent.model.flows import record as flow_record
from l4lb_agent.model.flows.record import FlowRecord
from l4lb_agent.model.flows.tally import Tally

MOST_TOP, DEFAULT_TOP = 1000, 10
ALL = "services/-"


def flows_wanted(request: service_pb2.ListFlowsRequest) -> FlowsWanted:
    """What it asks for. Raises InvalidArgument."""
    if request.top > MOST_TOP:
        raise InvalidArgument(f"top: {request.top} is more than {MOST_TOP}", reason="OUT_OF_BOUNDS", field="top")
    limit = 0 if request.omit_flows else request.limit or None
    wanted = FlowsWanted(limit=limit, top=request.top or DEFAULT_TOP)
    if request.client:
        client, bits = flow_record.prefix(request.client, "client")
        wanted = dataclasses.replace(wanted, client=client, bits=bits)
    if request.parent == ALL:
        return wanted
    if "/backends/" in request.parent:
        return dataclasses.replace(wanted, backend=fields.name(request.parent, fields.BACKEND_NAME, "parent"))
    return dataclasses.replace(wanted, service=fields.name(request.parent, fields.SERVICE_NAME, "parent"))


def flows(page: FlowPage) -> service_pb2.ListFlowsResponse:
    """One message of the stream."""
    summary = _summary(page, page.tally) if page.tally else None
    return service_pb2.ListFlowsResponse(flows=(_flow(page, record) for record in page.records), summary=summary)


def _flow(page: FlowPage, of: FlowRecord) -> flow_pb2.Flow:
    name = page.names[of.backend]
    return flow_pb2.Flow(
        service=name.split("/backends/")[0], backend=name, protocol=page.protocols[of.backend],  # type: ignore[arg-type]
        client=_address(of.client), client_port=of.client_port, vip_port=of.vip_port,
        source=_address(of.source), source_port=of.source_port,
        state=f"FLOW_STATE_{of.state.name}", idle=Duration(seconds=of.idle),
    )  # fmt: skip


def _summary(page: FlowPage, tally: Tally) -> flow_pb2.FlowSummary:
    backends = {page.names[number]: count for number, count in tally.backends.items()}
    states = {f"FLOW_STATE_{state.name}": count for state, count in tally.states.items()}
    return flow_pb2.FlowSummary(
        flows=tally.flows, without_client=tally.without_client, backends=_counts(backends), states=_counts(states),
        clients=(
            flow_pb2.FlowCount(name=_address(client), flows=count, uncertain=tally.talkers.uncertain)
            for client, count in tally.talkers.top(tally.top)
        ),
        oldest=(_flow(page, record) for record in tally.oldest),
    )  # fmt: skip


def _counts(counts: Mapping[str, int]) -> Iterable[flow_pb2.FlowCount]:
    """The most first, and then by name."""
    return (flow_pb2.FlowCount(name=name, flows=count) for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _address(packed: bytes) -> str:
    return str(Address(packed)) if packed else ""
