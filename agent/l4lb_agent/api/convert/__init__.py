"""The one folder that knows both protobuf and model: requests become commands, views become resources.

Every function that takes a request raises model.errors.Refused with the request's own field path for what cannot be a value of the model;
whether the value may be is control's to decide. Fields that only the agent writes are not read at all, but for `etag` on updates (AIP-203,
AIP-154).
"""

from l4lb_agent.api.convert.asked_packets import asked
from l4lb_agent.api.convert.backends import add_backend, backend, drain_backend, event, remove_backend, undrain_backend, update_backend
from l4lb_agent.api.convert.captures import capture, captured
from l4lb_agent.api.convert.diagnosis import findings, findings_json
from l4lb_agent.api.convert.explanations import explanation
from l4lb_agent.api.convert.flows import flows, flows_wanted
from l4lb_agent.api.convert.lists import create_list, delete_list, prefix_list, update_list
from l4lb_agent.api.convert.record import dump_id, kept_dump, record
from l4lb_agent.api.convert.rings import ring
from l4lb_agent.api.convert.seen import agent, config, stats
from l4lb_agent.api.convert.services import create_service, delete_service, service, update_service

__all__ = [
    "add_backend",
    "agent",
    "asked",
    "backend",
    "capture",
    "captured",
    "config",
    "create_list",
    "create_service",
    "delete_list",
    "delete_service",
    "drain_backend",
    "dump_id",
    "event",
    "explanation",
    "findings",
    "findings_json",
    "kept_dump",
    "prefix_list",
    "record",
    "remove_backend",
    "flows",
    "flows_wanted",
    "ring",
    "service",
    "stats",
    "undrain_backend",
    "update_backend",
    "update_list",
    "update_service",
]
