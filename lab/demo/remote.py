"""The controller's way in: over TCP, from a namespace of its own, and only with the right certificate."""

import json

import grpc

import l4lb
from l4lb.v1 import service_pb2, service_pb2_grpc
from lab.certificates import TRUST_DOMAIN
from lab.demo.stage import Stage
from lab.remote import Remote


def doors(stage: Stage, remote: Remote) -> None:
    """No certificate and no TLS are refused before the first word, a viewer's certificate where it would change something."""
    checks = stage.checks
    checks.step(f"who may drive the agent at {remote.target}: certificates made a moment ago")
    ca = remote.authority.ca.read_bytes()
    checks.equal("without TLS nobody answers", _status(grpc.insecure_channel(remote.target)), "UNAVAILABLE")
    without = grpc.secure_channel(remote.target, grpc.ssl_channel_credentials(ca))
    checks.equal("without a certificate the handshake fails", _status(without), "UNAVAILABLE")
    with remote.client("viewer") as viewer:
        checks.that("a viewer's certificate reads", viewer.agent().ready)
        checks.equal("a viewer's certificate creates no service", _refusal(stage, viewer), "PERMISSION_DENIED ROLE_NOT_ALLOWED")
    with remote.client("operator") as operator:
        checks.equal("nor does an operator's", _refusal(stage, operator), "PERMISSION_DENIED ROLE_NOT_ALLOWED")
    checks.equal("no service has been made", len(list(stage.client.list_services())), 0)


def audited(stage: Stage) -> None:
    """Every revision has its line, also those of changes around a kill, and so have the calls that were refused."""
    checks = stage.checks
    checks.step("the audit")
    lines = (stage.agent.state_dir / "audit.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    told = sorted(entry["revision"] for entry in entries if entry.get("diff"))
    revision = stage.client.agent().revision
    checks.that("each revision has one line", told == list(range(1, revision + 1)), f"{revision} revisions, {len(lines)} lines")
    refused = [(entry["who"], entry["rpc"]) for entry in entries if entry["outcome"] == "PERMISSION_DENIED"]
    expected = [(f"spiffe://{TRUST_DOMAIN}/role/{role}", "CreateVirtualService") for role in ("viewer", "operator")]
    checks.equal("those who were refused are named", refused, expected)
    logged = stage.agent.log_file.read_text().count(" event=audit ")
    checks.equal("the log has as many", logged, len(lines))
    checks.note(lines[-1])


def _status(channel: grpc.Channel) -> str:
    """Name of the status of the smallest call."""
    with channel:
        try:
            service_pb2_grpc.LoadBalancerServiceStub(channel).GetAgent(service_pb2.GetAgentRequest(), timeout=5)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def _refusal(stage: Stage, client: l4lb.Client) -> str:
    try:
        client.create_service("mine", vip=stage.vips()[0], port=8080)
    except l4lb.Error as error:
        return f"{error.code} {error.reason}"
    return "OK"
