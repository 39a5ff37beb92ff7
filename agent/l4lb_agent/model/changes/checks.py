"""Whether one resource could be, whatever else exists: names, numbers, annotations. Fields in errors are those of the API's requests."""

import math
import re
from collections.abc import Mapping

from l4lb_agent.model import layout
from l4lb_agent.model.access import limits
from l4lb_agent.model.access.lists import PrefixList
from l4lb_agent.model.backend import AdminState, Backend
from l4lb_agent.model.changes.commands import UpdateService
from l4lb_agent.model.choice import affinity
from l4lb_agent.model.errors import InvalidArgument
from l4lb_agent.model.health import check
from l4lb_agent.model.health.check import HealthCheck, Kind, OnAllDown, ProbeTarget
from l4lb_agent.model.service import MAX_DOWN_GRACE_SECONDS, MAX_IDLE_SECONDS, Mode, MssClamp, Protocol, Tracking, VirtualService
from l4lb_agent.model.ways.mtu import LEAST, LEAST_MSS, MAX_MTU, MOST_MSS, outer_bytes

MAX_ANNOTATIONS, MAX_KEY, MAX_VALUE = 64, 256, 4096
MAX_WEIGHT = 65535
_FIXED = {  # by attribute of the model: the API's field
    "vip": "vip", "port": "port", "port_end": "port_end", "protocol": "protocol", "ring_size": "ring_size", "mode": "forwarding_mode",
    "tracking": "flow_tracking",
    "encap_port": "encap.port", "outer_source": "encap.outer_source", "outer_checksum": "encap.outer_checksum",
    "hash": "hash",
}  # fmt: skip
_ID = re.compile("[a-z][a-z0-9-]{0,62}")


def service(value: VirtualService) -> None:
    """Raises InvalidArgument naming the field of `value` that cannot be."""
    parts = value.name.split("/")
    if len(parts) != 2 or parts[0] != "services" or not _ID.fullmatch(parts[1]):
        raise _invalid("service_id", parts[-1], "is not 1 to 63 of a-z, 0-9 and -, beginning with a letter")
    _ports(value)
    if value.ring_size not in layout.RING_SIZES:
        raise _invalid("service.ring_size", value.ring_size, f"is not one of {', '.join(map(str, layout.RING_SIZES))}")
    number(value.idle_seconds, 1, MAX_IDLE_SECONDS, "service.idle_timeout")
    number(value.window_seconds, 1, MAX_IDLE_SECONDS, "service.change_window")
    number(value.down_grace_seconds, 0, MAX_DOWN_GRACE_SECONDS, "service.down_grace")
    _tracking(value)
    _mss(value)
    if value.mode in (Mode.GUE, Mode.FOU):
        number(value.encap_port, 1, 65535, "service.encap.port")
    _new_flow_limit(value, "service.new_flow_limit")
    _affinity(value, "service.affinity")
    if value.health_check is not None:
        _health_check(value.health_check, "service.health_check")
        _probed_vip(value, value.health_check, "service.health_check.target")
    annotations(value.annotations, "service.annotations")


def _affinity(value: VirtualService, field: str) -> None:
    if not value.affinity:
        return
    number(value.affinity.seconds, 1, affinity.MAX_SECONDS, f"{field}.timeout")
    number(value.affinity.prefix, 1, affinity.longest_prefix(value.vip.family), f"{field}.prefix_length")
    if value.tracking is Tracking.CHANGES:
        raise _invalid(field, "affinity", "sends flows elsewhere than the ring, so that each needs an entry: set flow_tracking to ALL")


def _new_flow_limit(value: VirtualService, field: str) -> None:
    limit = value.new_flow_limit
    number(limit.prefix_v4, 1, 32, f"{field}.prefix_v4")
    number(limit.prefix_v6, 1, 128, f"{field}.prefix_v6")
    if limit.per_service is not None:
        _rate(limit.per_service, limits.MAX_SERVICE_RATE, f"{field}.per_service")
    if limit.per_source is not None:
        _rate(limit.per_source, limits.MAX_SOURCE_RATE, f"{field}.per_source")
    if limit and value.protocol is Protocol.UDP and value.tracking is Tracking.CHANGES:
        raise _invalid(field, "a limit", "is for services that know their flows, and UDP is not tracked: set flow_tracking to ALL")


def _health_check(value: HealthCheck, field: str) -> None:
    number(value.interval_seconds, check.SHORTEST_INTERVAL, check.LONGEST_INTERVAL, f"{field}.interval")
    if not check.SHORTEST_TIMEOUT <= value.timeout_seconds < value.interval_seconds:
        why = f"is not {check.SHORTEST_TIMEOUT:g} s up to less than the interval, {value.interval_seconds:g} s"
        raise _invalid(f"{field}.timeout", f"{value.timeout_seconds:g} s", why)
    number(value.rise, 1, check.MOST_IN_A_ROW, f"{field}.rise")
    number(value.fall, 1, check.MOST_IN_A_ROW, f"{field}.fall")
    number(value.port, 0, 65535, f"{field}.port")
    number(value.min_up_percent, 0, 100, f"{field}.min_up_percent")
    if value.min_up_percent and value.on_all_down is OnAllDown.REJECT:
        why = "keeps backends that are DOWN, and on_all_down is REJECT, which keeps none: leave out one of them"
        raise _invalid(f"{field}.min_up_percent", value.min_up_percent, why)
    kind = f"{field}.{value.kind.name.lower()}"
    for part, told in (("send", value.send), ("expect", value.expect), ("body_contains", value.contains)):
        number(len(told), 0, check.MOST_BYTES, f"{kind}.{part}")
    if value.kind is Kind.UDP and not value.send:
        raise _invalid(f"{kind}.send", "nothing", "is no datagram that a backend answers: set it to one that it does answer")
    for part, text in (("host", value.host), ("service", value.service), ("tls.server_name", value.server_name)):
        _text(text, check.LONGEST_NAME, f"{kind}.{part}")
    _text(value.path, check.LONGEST_PATH, f"{kind}.path")
    if not value.path.startswith("/"):
        raise _invalid(f"{kind}.path", repr(value.path), "does not begin with /")
    _statuses(value, kind)


def _probed_vip(value: VirtualService, asked: HealthCheck, field: str) -> None:
    if asked.target is ProbeTarget.VIP and value.mode.translates:
        why = f"is for DSR and ENCAP: backends of {value.name} never see its VIP, their own address is what to probe; leave it out"
        raise _invalid(field, asked.target.name, why)


def _statuses(value: HealthCheck, kind: str) -> None:
    number(len(value.statuses), 1, check.MOST_STATUSES, f"{kind}.statuses")
    for place, (first, last) in enumerate(value.statuses):
        number(first, 100, 599, f"{kind}.statuses[{place}].first")
        number(last, first, 599, f"{kind}.statuses[{place}].last")
    if value.contains and value.method == "HEAD":
        raise _invalid(f"{kind}.body_contains", repr(value.contains), "is for GET: an answer to HEAD has no body")


def _text(value: str, longest: int, field: str) -> None:
    """Visible ASCII alone: anything else would end a line of a request, or mean something else to each server."""
    if len(value) > longest or not all("!" <= letter <= "~" for letter in value):
        raise _invalid(field, repr(value[:100]), f"is not at most {longest} visible characters of ASCII without spaces")


def prefix_list(value: PrefixList) -> None:
    """Raises InvalidArgument naming the field of `value` that cannot be."""
    parts = value.name.split("/")
    if len(parts) != 2 or parts[0] != "lists" or not _ID.fullmatch(parts[1]):
        raise _invalid("list_id", parts[-1], "is not 1 to 63 of a-z, 0-9 and -, beginning with a letter")
    annotations(value.annotations, "list.annotations")


def _rate(rate: limits.Rate, most: int, field: str) -> None:
    number(rate.flows_per_second, 1, most, f"{field}.flows_per_second")
    number(rate.burst, 1, limits.MAX_FILL_SECONDS * rate.flows_per_second, f"{field}.burst")
    least = math.ceil(limits.MIN_BURST_SECONDS * rate.flows_per_second)
    if rate.burst < least:
        raise _invalid(
            f"{field}.burst", rate.burst, f"is less than {least}, a hundredth of flows_per_second: the clock's steps would limit"
        )


def _ports(value: VirtualService) -> None:
    if value.any_port:
        return
    number(value.port, 1, 65535, "service.port")
    if value.port_end and not value.port < value.port_end <= 65535:
        raise _invalid("service.port_end", value.port_end, f"is not {value.port + 1} to 65535: leave it out for a single port")


def _tracking(value: VirtualService) -> None:
    if value.mode.translates and value.tracking is not Tracking.NONE:
        raise _invalid("service.flow_tracking", value.tracking.name, "is for DSR and ENCAP: every NAT flow has a record, leave it out")
    if not value.mode.translates and value.tracking is Tracking.NONE:
        raise _invalid("service.flow_tracking", value.tracking.name, "is neither CHANGES nor ALL")


def _mss(value: VirtualService) -> None:
    if value.mss_clamp is not MssClamp.OFF and value.protocol is not Protocol.TCP:
        raise _invalid("service.mss_clamp", value.mss_clamp.name, f"is for TCP: {value.name} is {value.protocol.name}, leave it out")
    if value.mss_clamp is MssClamp.FIXED:
        number(value.mss, LEAST_MSS[value.vip.family], MOST_MSS[value.vip.family], "service.mss")
    elif value.mss:
        raise _invalid("service.mss", value.mss, f"is for mss_clamp FIXED, which is {value.mss_clamp.name}: leave it out or set that")


def backend(value: Backend, service: VirtualService) -> None:
    """Raises InvalidArgument naming the field of `value` that cannot be. The port is already the service's when none was given."""
    parts = value.name.split("/")
    if len(parts) != 4 or parts[0] != "services" or parts[2] != "backends" or not _ID.fullmatch(parts[3]):
        raise _invalid("backend_id", parts[-1], "is not 1 to 63 of a-z, 0-9 and -, beginning with a letter")
    number(value.port, min(1, service.backend_port), 65535, "backend.port")
    number(value.weight, 0, MAX_WEIGHT, "backend.weight")
    annotations(value.annotations, "backend.annotations")


def probed_port(value: Backend, service: VirtualService, field: str) -> None:
    """Raises InvalidArgument when a health check would not know which port of the backend to probe."""
    if service.health_check is not None and not service.health_check.port and not value.port:
        why = f"{service.name} has {service.ports} and {value.name} names none, so that its health check has none to probe"
        raise _invalid(field, 0, f"is not enough: {why}; set service.health_check.port, or backend.port")


def mtu(value: Backend, service: VirtualService) -> None:
    """Raises InvalidArgument for an MTU that leaves less than every host sends, outer headers taken off."""
    least = LEAST[service.vip.family] + outer_bytes(service.mode, value.address)
    if value.mtu and not least <= value.mtu <= MAX_MTU:
        raise _invalid("backend.mtu", value.mtu, f"is neither 0 nor {least} to {MAX_MTU} for {service.name}")


def unchanged(now: VirtualService, asked: UpdateService) -> None:
    """Raises InvalidArgument when a field that is fixed at creation is asked to be another than it is."""
    for field, told in _FIXED.items():
        value, present = getattr(asked, field), getattr(now, field)
        if value is not None and value != present:
            words = getattr(present, "name", str(present))
            if field == "mode" and value.translates and present.translates:
                told, words = "client_address", "KEEP" if present is Mode.KEEP else "TRANSLATE"
            raise InvalidArgument(
                f"service.{told}: {now.name} has {words} since its creation and keeps it: create another virtual service",
                reason="FIELD_FIXED",
                field=f"service.{told}",
                metadata={"service": now.name, "value": words},
            )


def writable_state(state: AdminState) -> None:
    """Raises InvalidArgument for a state that only verbs reach."""
    if state not in (AdminState.ENABLED, AdminState.DISABLED):
        raise _invalid("backend.admin_state", state.name, "is reached by DrainBackend, not written: write ENABLED or DISABLED")


def number(value: float, low: float, high: float, field: str) -> None:
    """Raises InvalidArgument unless low <= value <= high."""
    if not low <= value <= high:
        raise _invalid(field, value, f"is not {low} to {high}")


def annotations(value: Mapping[str, str], field: str) -> None:
    """Raises InvalidArgument for too many or too long ones."""
    if len(value) > MAX_ANNOTATIONS:
        raise _invalid(field, len(value), f"are more than {MAX_ANNOTATIONS} entries")
    for key, text in value.items():
        if not 1 <= len(key) <= MAX_KEY or len(text) > MAX_VALUE:
            raise _invalid(field, key[:MAX_KEY], f"has a key of not 1 to {MAX_KEY} or a value of more than {MAX_VALUE} characters")


def _invalid(field: str, value: object, why: str) -> InvalidArgument:
    return InvalidArgument(f"{field}: {value} {why}", reason="INVALID_FIELD", field=field, metadata={"value": str(value)})
