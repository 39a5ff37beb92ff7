"""Both answers about a packet: when they are the same, when that is not so loudly said, when nobody can tell."""

import asyncio
import logging
import threading
from collections import Counter

import pytest

from l4lb_agent.control.captures import Called, Names
from l4lb_agent.control.facade import BackendView, Explained, HealthView
from l4lb_agent.control.seen.explainer import MOST, Explainer, _named
from l4lb_agent.model.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from l4lb_agent.model.explain.compare import Comparison, differences
from l4lb_agent.model.explain.packet import Step
from l4lb_agent.model.explain.road import Explanation
from l4lb_agent.model.explain.synthesis import Wanted
from l4lb_agent.model.health.check import Target
from l4lb_agent.model.health.effective import EffectiveState
from l4lb_agent.model.health.outcome import Outcome, Why
from l4lb_agent.model.health.state import Health, Probed, State
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.model.observed import Answer
from l4lb_agent.model.reasons import Reason, Verdict
from tests.fakes.datapath import FakeDatapath
from tests.fakes.values import address, backend

ONE, OTHER = (bytes(10) + b"\xff\xff" + bytes([192, 0, 2, last]) for last in (1, 2))
SYN = Wanted(6, ONE, OTHER, 4000, 80)
DROPPED = Answer(Verdict.DROP, b"", Reason.NO_SERVICE)


class Asked:
    """An explainer whose datapath says what a test wants."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.datapath = FakeDatapath(Sizes())
        self.datapath.answer = answer
        self.explainer = Explainer(self.datapath, lambda: Names({}, {}, {"eth0": 2}), lambda _: None)

    async def explained(self) -> Explained:
        """A SYN."""
        return await self.explainer.explain(SYN, "")


async def test_a_program_that_does_the_same_agrees(caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked()
    made = await asked.explained()
    assert (made.explanation.reason, made.compared.comparison) == (Reason.FOREIGN, Comparison.AGREED)
    assert (made.compared.differences, asked.explainer.disagreements, caplog.messages) == ((), 0, [])


async def test_a_program_that_does_something_else_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked(DROPPED)
    made = await asked.explained()
    assert (made.compared.comparison, made.compared.answer) == (Comparison.DISAGREED, DROPPED)
    assert made.compared.differences == (
        "verdict: explained PASS, the program says DROP",
        "reason: explained FOREIGN, the program says NO_SERVICE",
    )
    assert asked.explainer.disagreements == 1
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("event=explain_disagreement differences='verdict: explained PASS")
    assert made.frame.hex() in record.getMessage()


async def test_what_changes_meanwhile_is_no_disagreement(caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked(Answer(Verdict.DROP, b"", Reason.NO_SERVICE, steady=False))
    made = await asked.explained()
    assert (made.compared.comparison, asked.explainer.disagreements, caplog.messages) == (Comparison.UNSTEADY, 0, [])


async def test_a_program_that_cannot_be_asked_leaves_the_explanation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()

    def refuse(ifindex: int, frame: bytes) -> Answer:
        raise OSError(19, "no such interface")

    monkeypatch.setattr(asked.datapath, "ask", refuse)
    made = await asked.explained()
    assert (made.explanation.reason, made.compared.comparison) == (Reason.FOREIGN, Comparison.NOT_ASKED)
    assert "no such interface" in made.compared.differences[0]


async def test_interfaces_are_those_of_the_agent() -> None:
    asked = Asked()
    with pytest.raises(InvalidArgument, match="none of the agent's interfaces: eth0"):
        await asked.explainer.explain(SYN, "eth1")
    with pytest.raises(FailedPrecondition, match="no interface"):
        await Explainer(asked.datapath, Names, lambda _: None).explain(SYN, "")


async def test_questions_are_answered_one_after_the_other_also_when_those_who_asked_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, goes_on = Asked(), threading.Event()
    begun: list[bytes] = []

    def wait(ifindex: int, frame: bytes) -> Answer:
        begun.append(frame)
        goes_on.wait(20)
        return Answer(Verdict.PASS, frame, Reason.FOREIGN)

    monkeypatch.setattr(asked.datapath, "ask", wait)
    questions = [asyncio.ensure_future(asked.explained()) for _ in range(MOST + 3)]
    try:
        while not begun:
            await asyncio.sleep(0.001)
        for gone in questions[:20]:
            gone.cancel()
        await asyncio.sleep(0.05)
        assert len(begun) == 1
    finally:
        goes_on.set()
    ended = await asyncio.gather(*questions, return_exceptions=True)
    kinds = Counter(type(one) for one in ended)
    assert kinds == {ResourceExhausted: 3, asyncio.CancelledError: 20, Explained: MOST - 20}
    assert (await asked.explained()).compared.comparison is Comparison.AGREED


def test_each_part_of_an_answer_is_compared_and_a_budget_is_no_difference() -> None:
    explained = Explanation((Step("a", "b"),), Reason.ECHO_ANSWERED, Verdict.REDIRECT, b"abc", interface=3, limited=Reason.ECHO_LIMITED)
    same = Answer(Verdict.REDIRECT, b"abc", Reason.ECHO_ANSWERED, 3)
    assert differences(explained, same) == ()
    assert differences(explained, Answer(Verdict.DROP, b"", Reason.ECHO_LIMITED)) == ()
    assert differences(explained, Answer(Verdict.DROP, b"", Reason.RST_LIMITED)) != ()
    assert differences(explained, Answer(Verdict.REDIRECT, b"abc", Reason.ECHO_ANSWERED, 4)) == (
        "interface: explained number 3, the program says 4",
    )
    assert differences(explained, Answer(Verdict.REDIRECT, b"axc", Reason.ECHO_ANSWERED, 3)) == (
        "frame: the first of 1 bytes that differ is number 1",
    )


def seen(name: str, health: HealthView | None = None, effective: EffectiveState = EffectiveState.TAKES_NEW_FLOWS) -> BackendView:
    """services/web/backends/NAME."""
    return BackendView(backend("web", name, "10.0.0.1"), health=health, effective=effective)


def explained_with(step: Step, reason: Reason, *views: BackendView) -> list[Step]:
    """The steps that the agent makes of one of the datapath's."""
    found = Explained(b"", "eth0", Explanation((step,), reason, Verdict.TX, b"", service=1))
    names = Names({"services/web": 1}, {view.backend.name: number for number, view in enumerate(views, 1)}, {}, {})
    known = {view.backend.name: view for view in views}
    return list(_named(found, Called.of(names), known.get).explanation.steps)


def test_the_backend_is_told_with_its_health_and_its_last_probe() -> None:
    probed = Probed(Outcome(Why.STATUS, 0.1, "503 Service Unavailable"), 1.0)
    to = Target(address("10.0.0.1"), 8080)
    down = HealthView(Health(State.DOWN, 1.0, history=(probed,)), kept=True, target=to)
    [_, told] = explained_with(Step("backend", "", {"backend_id": "1"}), Reason.FLOW_CREATED, seen("a", down))
    why = "its health is DOWN, and goes on because none of its service is UP, by a probe that ended STATUS"
    assert told.finding == f"it is ENABLED; {why}"
    wanted = {"health": "DOWN", "last_probe": "STATUS 503 Service Unavailable", "effective_state": "TAKES_NEW_FLOWS"}
    wanted["probed"] = "10.0.0.1 port 8080"
    assert wanted.items() <= dict(told.evidence).items()
    [_, told] = explained_with(Step("backend", "", {"backend_id": "1"}), Reason.FLOW_CREATED, seen("a"))
    assert (told.finding, "health" in told.evidence) == ("it is ENABLED", False)


@pytest.mark.parametrize("reason", [Reason.NO_BACKEND, Reason.NO_BACKEND_ANSWERED, Reason.NO_BACKEND_LIMITED])
def test_when_nobody_takes_new_flows_it_is_told_why(reason: Reason) -> None:
    states = {"a": EffectiveState.UNHEALTHY, "b": EffectiveState.DRAINING, "c": EffectiveState.UNHEALTHY}
    views = [seen(name, effective=state) for name, state in states.items()]
    told = explained_with(Step("backend", "", {"backend_id": "none"}), reason, *views)[-1]
    assert (told.name, told.finding) == ("backends_state", "of the service's backends: 1 DRAINING, 2 UNHEALTHY")
    assert told.evidence == {"DRAINING": "services/web/backends/b", "UNHEALTHY": "services/web/backends/a"}
    assert explained_with(Step("backend", ""), reason)[-1].finding == "of the service's backends: it has none"
