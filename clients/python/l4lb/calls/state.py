"""Calls about the agent and its state as a whole."""

from collections.abc import Sequence

from l4lb.calls.call import Call
from l4lb.v1 import agent_pb2, doctor_pb2, service_pb2


def agent() -> Call[agent_pb2.Agent]:
    """Reads what the agent and its datapath are and how they are."""
    return Call("GetAgent", service_pb2.GetAgentRequest(), lambda response: response.agent)


def config() -> Call[agent_pb2.Config]:
    """Reads all desired state."""
    return Call("GetConfig", service_pb2.GetConfigRequest(), lambda response: response.config)


def diagnose() -> Call[Sequence[doctor_pb2.Finding]]:
    """Looks at the agent's host and the network around it: what is not as it should be, the worst first. Takes up to some seconds."""
    return Call("Diagnose", service_pb2.DiagnoseRequest(), lambda response: response.findings)
