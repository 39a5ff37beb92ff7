#!/usr/bin/env python3
"""Runs clients/scenario.json with the generated Python client; clients/README.md says what a scenario is.

scenario.py --target lb1:9443 --ca ca.pem --cert me.pem --key me.key --set vip=192.0.2.10 ... clients/scenario.json
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.message import Message

import l4lb
from l4lb import channel
from l4lb.v1 import service_pb2, service_pb2_grpc

STEP_SECONDS = 20
MOST_READ = 100  # messages that `until` may pass over
METHODS = service_pb2.DESCRIPTOR.services_by_name["LoadBalancerService"].methods_by_name


class Different(Exception):
    """The agent did not do what the scenario says."""


class Runner:
    """Runs steps; `known` are the variables, those that steps keep included."""

    def __init__(self, connection: grpc.Channel, known: dict[str, str]) -> None:
        self._stub = service_pb2_grpc.LoadBalancerServiceStub(connection)
        self._known = known
        self.called: set[str] = set()
        self.steps = 0

    def step(self, step: dict[str, Any]) -> None:
        """Runs one. Raises Different."""
        self.steps += 1
        rpc = step["rpc"]
        self.called.add(rpc)
        try:
            if METHODS[rpc].server_streaming:
                self._stream(step, self._call(step))
            else:
                answer = self._answer(step, lambda: self._call(step))
                self._known |= {name: str(at(answer, path)) for name, path in step.get("keep", {}).items()}
        except (Different, grpc.RpcError, json_format.ParseError) as failure:
            raise Different(f"{step['fact']} ({rpc}): {failure}") from None
        print(f"ok: {step['fact']}", flush=True)

    def _call(self, step: dict[str, Any]) -> Any:
        request = message_factory.GetMessageClass(METHODS[step["rpc"]].input_type)()
        json_format.ParseDict(filled(step.get("request", {}), self._known), request)
        return getattr(self._stub, step["rpc"])(request, timeout=STEP_SECONDS)

    def _answer(self, step: dict[str, Any], receive: Any) -> Any:
        """The answer as plain values, or None when it is the error that was expected."""
        try:
            answer = plain(receive())
        except grpc.RpcError as failure:
            if "error" not in step:
                raise
            error = l4lb.Error.from_rpc(failure)
            demand("error", step["error"], {"code": error.code, "reason": error.reason, "field": error.field})
            return None
        if "error" in step:
            raise Different("expected an error, got an answer")
        demand("answer", filled(step.get("answer", {}), self._known), answer)
        return answer

    def _stream(self, step: dict[str, Any], call: Any) -> None:
        """Plays the items of an open stream, then ends it; a stream that is complete ends by itself, without an error."""
        if "error" in step:
            self._answer(step, lambda: next(call))
            return
        for item in step["stream"]:
            if "step" in item:
                self.step(item["step"])
            else:
                self._message(call, item)
        if step.get("complete") and next(call, None) is not None:
            raise Different("expected the end of the stream, got a message")
        call.cancel()

    def _message(self, call: Iterator[Message], item: dict[str, Any]) -> None:
        most, expected = (1, item["next"]) if "next" in item else (MOST_READ, item["until"])
        found: list[str] = []
        for _ in range(most):
            message = next(call, None)
            if message is None:
                raise Different(f"the stream ended; before: {'; '.join(found)}")
            if not (found := list(differences("message", filled(expected, self._known), plain(message)))):
                return
        raise Different("; ".join(found))


def plain(message: Message) -> Any:
    """A message as JSON values, fields with their default included."""
    return json_format.MessageToDict(message, always_print_fields_with_no_presence=True)


def demand(path: str, expected: Any, actual: Any) -> None:
    """Raises Different when `actual` is not as expected."""
    if found := list(differences(path, expected, actual)):
        raise Different("; ".join(found))


def differences(path: str, expected: Any, actual: Any) -> Iterator[str]:
    """Where `actual` is not as expected. Fields that `expected` does not name may be anything; `*` is anything but empty."""
    empty = actual in (None, "", "0", 0, False, [], {})
    if isinstance(expected, dict):
        for key, value in expected.items():
            yield from differences(f"{path}.{key}", value, actual.get(key) if isinstance(actual, dict) else None)
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for i, value in enumerate(expected):
            yield from differences(f"{path}.{i}", value, actual[i])
    elif not (expected == "*" and not empty or expected is None and empty or expected == actual):
        yield f"{path}: expected {expected}, got {actual}"


def at(value: Any, path: str) -> Any:
    """What a path of keys and indices leads to."""
    for key in path.split("."):
        value = value[int(key)] if isinstance(value, list) else value.get(key)
    return value


def filled(value: Any, known: dict[str, str]) -> Any:
    """`value` with ${name} replaced in all its strings."""
    if isinstance(value, dict):
        return {key: filled(item, known) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, known) for item in value]
    if isinstance(value, str):
        for name, text in known.items():
            value = value.replace(f"${{{name}}}", text)
    return value


def connect(options: argparse.Namespace) -> grpc.Channel:
    """A channel to the agent: a Unix socket, or TCP with mutual TLS."""
    tls = channel.Tls(options.ca, options.cert, options.key, options.server_name)
    credentials = tls.credentials(options.target)
    if credentials is None:
        return grpc.insecure_channel(options.target, options=tls.options)
    return grpc.secure_channel(options.target, credentials, options=tls.options)


def main() -> int:
    """Runs the whole scenario. 1 after the first step that went otherwise."""
    parser = argparse.ArgumentParser(description="Runs a scenario with the Python client.")
    parser.add_argument("--target", default=l4lb.DEFAULT_TARGET, help="the agent: unix:///path or host:port")
    for name in ("ca", "cert", "key"):
        parser.add_argument(f"--{name}", help="PEM file, for host:port")
    parser.add_argument("--server-name", default="", help="name in the agent's certificate, when not the host of the target")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="variable of the scenario; may be repeated")
    parser.add_argument("scenario", type=Path)
    options = parser.parse_args()
    with connect(options) as connection:
        runner = Runner(connection, dict(text.split("=", 1) for text in options.set))
        try:
            for step in json.loads(options.scenario.read_text())["steps"]:
                runner.step(step)
        except Different as failure:
            print(f"scenario: {failure}", file=sys.stderr)
            return 1
    print(f"python: {runner.steps} steps, {len(runner.called)} rpcs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
