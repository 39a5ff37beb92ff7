"""What l4lbctl events tells, from what was seen before and what is seen now."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from l4lb import news
from l4lb.v1 import agent_pb2, backend_pb2, reason_pb2, stats_pb2, virtual_service_pb2
from l4lb.v1.backend_pb2 import Backend


def backend(**more: object) -> Backend:
    return Backend(name="services/web/backends/a", address="10.0.0.1", port=80, weight=1, admin_state="ADMIN_STATE_ENABLED", **more)  # type: ignore[arg-type]


def changed(**more: object) -> Backend:
    after = backend()
    after.MergeFrom(Backend(**more))  # type: ignore[arg-type]
    return after


HOP = backend_pb2.NextHop(interface="eth0", mac="02:00:00:00:00:01")
OTHER_HOP = backend_pb2.NextHop(interface="eth1", mac="02:00:00:00:00:02")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, None, []),
        (None, backend(), ["added at 10.0.0.1 port 80, weight 1"]),
        (backend(), None, ["removed"]),
        (backend(), backend(), []),
        (backend(), changed(weight=3), ["weight 1 -> 3"]),
        (backend(), changed(address="10.0.0.2"), ["address 10.0.0.1 port 80 -> 10.0.0.2 port 80"]),
        (backend(), changed(reconciling=True, reconciling_reason="no answer"), ["waits: no answer"]),
        (None, changed(reconciling=True, reconciling_reason="no answer"), ["added at 10.0.0.1 port 80, weight 1", "waits: no answer"]),
        (changed(reconciling=True, reconciling_reason="no answer"), backend(), ["the kernel forwards to it as asked"]),
        (changed(next_hop=HOP), changed(next_hop=OTHER_HOP), ["next hop eth0 02:00:00:00:00:01 -> eth1 02:00:00:00:00:02"]),
        (backend(), changed(admin_state="ADMIN_STATE_DISABLED"), ["DISABLED"]),
        (backend(), changed(admin_state="ADMIN_STATE_DRAINING", drain={"remaining_flows": 7}), ["DRAINING, 7 flows"]),
        (
            backend(),
            changed(admin_state="ADMIN_STATE_DRAINING", drain={"remaining_flows": 7, "deadline": Timestamp(seconds=60)}),
            ["DRAINING, 7 flows, until 1970-01-01T00:01:00Z"],
        ),
        (
            changed(admin_state="ADMIN_STATE_DRAINING"),
            changed(admin_state="ADMIN_STATE_DRAINED", drain={"result": "DRAIN_RESULT_DEADLINE_CUT", "remaining_flows": 2}),
            ["DRAINED, DEADLINE_CUT, 2 flows left"],
        ),
        (changed(admin_state="ADMIN_STATE_DRAINED"), backend(), ["ENABLED"]),
        (None, changed(admin_state="ADMIN_STATE_DRAINED"), ["added at 10.0.0.1 port 80, weight 1", "DRAINED"]),
    ],
)
def test_what_became_of_a_backend(before: Backend | None, after: Backend | None, told: list[str]) -> None:
    found = list(news.of_backend(before, after))
    assert [one.text for one in found] == told
    assert {(one.kind, one.subject) for one in found} <= {("backend", "web/a")}


def test_services_come_go_and_change() -> None:
    def service(name: str, **more: object) -> virtual_service_pb2.VirtualService:
        return virtual_service_pb2.VirtualService(name=f"services/{name}", vip="192.0.2.1", port=80, **more)  # type: ignore[arg-type]

    before = {"services/a": service("a"), "services/b": service("b", etag='"1"', idle_timeout={"seconds": 9}), "services/c": service("c")}
    after = {
        "services/b": service("b", etag='"2"', idle_timeout={"seconds": 8}, ring_digest="x"),
        "services/c": service("c"),
        "services/d": service("d"),
    }
    assert [(one.subject, one.text) for one in news.of_services(before, after)] == [
        ("a", "deleted"), ("b", "changed: idle_timeout"), ("d", "created at 192.0.2.1 port 80"),
    ]  # fmt: skip


def test_the_agent_its_interfaces_and_its_warnings() -> None:
    interface = {"name": "eth0", "mode": "XDP_MODE_NATIVE", "mode_reason": "taken", "program_tag": "ab"}
    started = Timestamp(seconds=60)
    before = agent_pb2.Agent(ready=False, not_ready_reason="x", warnings=[{"reason": "OLD", "message": "o"}], version="1")
    after = agent_pb2.Agent(
        ready=True, start_time=started, interfaces=[interface], warnings=[{"reason": "NEW", "message": "n"}], version="1"
    )
    assert list(news.of_agent(before, before)) == []
    assert [(one.kind, one.subject, one.text) for one in news.of_agent(before, after)] == [
        ("agent", "1", "started at 1970-01-01T00:01:00Z, 0 map writes since"),
        ("agent", "1", "ready"),
        ("interface", "eth0", "native: taken, program ab"),
        ("warning", "NEW", "n"),
        ("warning", "OLD", "is over"),
    ]
    lost = agent_pb2.Agent(ready=True, start_time=started, interfaces=[{"name": "eth0", "mode_reason": "gone"}], version="1")
    assert [one.text for one in news.of_agent(after, lost)] == ["not attached: gone", "is over"]


def sample(second: int, *packets: tuple[int, int, int]) -> stats_pb2.Stats:
    reasons = [stats_pb2.ReasonStats(reason=reason, verdict=verdict, packets=count) for reason, verdict, count in packets]  # type: ignore[arg-type]
    return stats_pb2.Stats(sample_time=Timestamp(seconds=second), reasons=reasons)


def test_drops_are_told_when_they_begin_and_when_they_are_over() -> None:
    drops, lost, passed = news.Drops(10), reason_pb2.VERDICT_DROP, reason_pb2.VERDICT_PASS
    no_backend, foreign = reason_pb2.REASON_NO_BACKEND, reason_pb2.REASON_FOREIGN
    told = [
        [(one.subject, one.text) for one in drops.feed(sample(second, (no_backend, lost, count), (foreign, passed, 1000 * second)))]
        for second, count in enumerate((500, 505, 525, 530, 530, 530, 550))
    ]
    begins, ends = ("NO_BACKEND", "20 packets a second are dropped: docs/reasons.md"), ("NO_BACKEND", "no packets are dropped any more")
    assert told == [[], [], [begins], [], [ends], [], [begins]]
