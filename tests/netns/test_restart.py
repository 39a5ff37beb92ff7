"""The agent may be killed, started, refused and taken away: traffic goes on until `detach`."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

import l4lb
from lab.agent import Agent, Identity
from lab.services import Balanced, identities
from tests.netns.conftest import set_up
from tests.netns.test_changes import eventually


def test_the_agent_has_exactly_the_identity_of_its_unit(running: Balanced) -> None:
    identity = Identity.of(running.agent.pid)
    assert identity.is_unit(), identity
    assert not replace(identity, no_new_privileges=False).is_unit()
    assert not replace(identity, groups=(0,)).is_unit()
    assert not replace(identity, uids=(0, 0, 0, 0)).is_unit()
    assert not replace(identity, capabilities={"CapEff": identity.capabilities["CapEff"] | 1 << 21}).is_unit()


@pytest.fixture(params=[False, True], ids=["bridged", "routed"])
def either(request: pytest.FixtureRequest) -> Iterator[Balanced]:
    with set_up(routed=request.param) as running:
        running.add_web()
        yield running


def test_killed_under_load_nobody_notices_and_the_same_objects_are_adopted(either: Balanced) -> None:
    web = either
    web.add_echoes()
    traffic = web.lab.traffic
    loads = [traffic.constant(web.vips(), 200, "load"), traffic.connections(web.vips(), 20), traffic.datagrams(web.vips(), 10)]
    known = identities(web.client.agent())
    for _ in range(2):
        killed = time.monotonic()
        web.agent.kill()
        time.sleep(1.5)
        back = time.monotonic()
        web.agent.start()
        info = web.agent.wait_ready(web.client)
        assert identities(info) == known
        assert (info.map_writes, info.reconcile_retries) == (0, 0)
    results = [load.result() for load in loads]
    assert [result["errors"] for result in results] == [{}, {}, {}]
    assert results[1]["open"] == 20
    assert any(killed < at < back for at in results[0]["answered"]), "answered while it was down"
    assert traffic.tcp_counters().syn_retransmissions == 0


def test_while_the_agent_is_dead_tail_programs_still_answer(web: Balanced) -> None:
    """New flows and RSTs are tail calls: the kernel empties a tail-call array that nobody holds."""
    web.agent.kill()
    time.sleep(0.5)
    assert web.lab.traffic.counted(web.vips(), 20, "dead")["errors"] == {}
    web.lab.forget_neighbours("client")
    assert web.lab.traffic.counted(web.vips(), 2, "resolved")["errors"] == {}


def test_desired_state_survives_and_so_does_what_was_counted(web: Balanced) -> None:
    web.lab.traffic.counted(web.vips(), 20, "counted")
    config = web.client.config()
    [before] = web.client.stats(samples=1)
    web.agent.kill()
    web.agent.start()
    web.agent.wait_ready(web.client)
    [after] = web.client.stats(samples=1)
    assert [s.name for s in web.client.config().services] == [s.name for s in config.services]
    assert web.client.config().revision == config.revision
    assert [s.traffic.flows for s in after.services] == [s.traffic.flows for s in before.services]


def test_a_stopped_agent_leaves_the_datapath_forwarding_and_detach_ends_it(web: Balanced) -> None:
    web.agent.stop()
    assert web.lab.traffic.counted(web.vips(), 10, "stopped")["errors"] == {}
    done = web.agent.run("detach")
    assert done.returncode == 0, done.stderr
    seen = web.lab.traffic.counted(web.vips(), 2, "detached", patience=1.5)
    assert seen["failed"] == seen["requests"] == 4
    assert "xdp" not in web.lab.link("lb")


def test_a_second_agent_is_refused_and_the_holder_is_named(running: Balanced) -> None:
    holder = running.agent.pid
    second = running.agent.run()
    assert second.returncode != 0
    assert str(holder) in second.stderr
    assert running.client.agent().ready
    assert running.agent.pid == holder


def test_another_pin_directory_on_the_same_interface_is_a_clear_error(running: Balanced) -> None:
    [interface] = running.client.agent().interfaces
    other = Agent(running.lab, name="other")
    other.start()
    other.wait_answers()
    with l4lb.Client(other.target) as client:
        assert eventually(lambda: str(interface.program_id) in client.agent().not_ready_reason), client.agent().not_ready_reason
        assert "eth0" in client.agent().not_ready_reason
    other.stop()
