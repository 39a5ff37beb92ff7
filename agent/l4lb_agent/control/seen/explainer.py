"""Explains packets: makes the frame that is asked about, follows it through what the maps hold now, asks the datapath's own program the
same, and names what it meets."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from l4lb_agent.control.captures import Called, Names
from l4lb_agent.control.facade import BackendView, Explained
from l4lb_agent.control.ports import Datapath
from l4lb_agent.model import layout
from l4lb_agent.model.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from l4lb_agent.model.explain import sending
from l4lb_agent.model.explain.compare import Compared, Comparison, differences
from l4lb_agent.model.explain.moment import Asked, Moment
from l4lb_agent.model.explain.packet import Step
from l4lb_agent.model.explain.road import Explanation, explain
from l4lb_agent.model.explain.synthesis import Wanted, frame
from l4lb_agent.model.reasons import Reason

SOMEBODY, OURS = (bytes.fromhex(text) for text in ("020000000001", "020000000002"))  # of no vendor, where none is known


LOGGED_BYTES = 256  # of a frame
ATTEMPTS = 3  # to ask both while nothing changes
MOST = 128  # questions at once, those that wait for their turn among them: nobody fills the doors with them

_log = logging.getLogger(__name__)

View = Callable[[str], BackendView | None]
T = TypeVar("T")


class Explainer:
    """Explains what `datapath` does with packets, one at a time. `names` are those of now, `view` tells what is known of a backend by its
    name. `disagreements` counts the packets of which the program said something else."""

    def __init__(self, datapath: Datapath, names: Callable[[], Names], view: View) -> None:
        self.disagreements = 0
        self._datapath, self._names, self._view = datapath, names, view
        self._alone = asyncio.Lock()
        self._asking = 0

    async def explain(self, wanted: Wanted, interface: str) -> Explained:
        """See facade.Control."""
        if self._asking >= MOST:
            raise ResourceExhausted(
                f"{MOST} packets are being explained, one after the other: ask again when some are answered",
                reason="TOO_MANY_QUESTIONS", metadata={"maximum": str(MOST)},
            )  # fmt: skip
        self._asking += 1
        try:
            async with self._alone:
                return await self._answer(wanted, interface)
        finally:
            self._asking -= 1

    async def _answer(self, wanted: Wanted, interface: str) -> Explained:
        names = Called.of(self._names())
        attached = names.interfaces
        if interface and interface not in attached.values():
            there = ", ".join(sorted(attached.values())) or "none"
            raise InvalidArgument(
                f"packet.interface: {interface!r} is none of the agent's interfaces: {there}", reason="INTERFACE_UNKNOWN",
                field="packet.interface", metadata={"interface": interface},
            )  # fmt: skip
        if not attached:
            raise FailedPrecondition("the datapath is on no interface that there is: see GetAgent", reason="NOT_ATTACHED")
        try:
            made = await _to_its_end(asyncio.to_thread(self._explain, wanted, interface, attached))
        except OSError as error:
            raise Unavailable(f"the maps cannot be read: {error}", reason="MAPS_UNREADABLE") from error
        if made.compared.comparison is Comparison.DISAGREED:
            self.disagreements += 1
            told, raw = "; ".join(made.compared.differences), made.frame[:LOGGED_BYTES].hex()
            _log.error("event=explain_disagreement differences=%r interface=%s frame=%s", told, made.interface, raw)
        return _named(made, names, self._view)

    def _explain(self, wanted: Wanted, interface: str, attached: Mapping[int, str]) -> Explained:
        now = self._datapath.moment()
        wanted, ifindex, sender = _arrival(now, wanted, interface, attached)
        place = now.element("interfaces", ifindex % layout.INTERFACE_PLACES, layout.Interface)
        raw = frame(wanted, sender, bytes(place.mac) if place and place.ifindex == ifindex else OURS)
        found, compared = self._compared(raw, ifindex, now)
        outs = [attached.get(one or 0, str(one or "")) for one in (found.interface, compared.answer and compared.answer.ifindex)]
        return Explained(raw, attached[ifindex], found, out=outs[0], compared=compared, program_out=outs[1])

    def _compared(self, raw: bytes, ifindex: int, now: Moment) -> tuple[Explanation, Compared]:
        """Asks the program between two explanations: what changed meanwhile explains a difference from one of them."""
        found, compared = explain(raw, ifindex, now), Compared(Comparison.UNSTEADY)
        for _ in range(ATTEMPTS):
            try:
                answer = self._datapath.ask(ifindex, raw)
            except OSError as error:
                return found, Compared(Comparison.NOT_ASKED, (f"the program cannot be asked: {error}",))
            before, found = found, explain(raw, ifindex, self._datapath.moment())
            agreeing = [one for one in (found, before) if not differences(one, answer)]
            if agreeing:
                return agreeing[0], Compared(Comparison.AGREED, answer=answer)
            comparison = Comparison.DISAGREED if answer.steady else Comparison.UNSTEADY
            compared = Compared(comparison, differences(found, answer), answer)
        return found, compared


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What it returns. Whoever is cancelled meanwhile still waits for it: questions that nobody awaits would fill up the threads."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def _arrival(now: Moment, wanted: Wanted, interface: str, attached: Mapping[int, str]) -> tuple[Wanted, int, bytes]:
    """By which interface the packet comes, with which tag, and from which MAC: as the kernel would answer it."""
    first = next((ifindex for ifindex, name in attached.items() if name == interface), next(iter(attached)))
    if wanted.ether_type:
        return wanted, first, SOMEBODY
    ends = wanted.destination, wanted.source, wanted.destination_port, wanted.source_port
    route = now.route(Asked(first, wanted.protocol, *ends))
    if route.why:
        return wanted, first, SOMEBODY
    ifindex, vlans = sending.carried(now, sending.over(now, route.ifindex))
    if ifindex not in attached or interface not in ("", attached[ifindex]):
        return wanted, first, SOMEBODY
    tagged = interface or wanted.vlan or wanted.priority or wanted.service_vlan
    return wanted if tagged else replace(wanted, vlans=vlans), ifindex, route.destination_mac


def _named(of: Explained, names: Called, view: View) -> Explained:
    """With names beside ids, and with what the agent knows of the backend right after what the datapath does."""
    # by how a fact's name ends
    kinds = {"service_id": names.services, "backend_id": names.backends, "interface": names.interfaces, "list_id": names.lists}
    steps: list[Step] = []
    for step in of.explanation.steps:
        facts = dict(step.evidence)
        for fact, known in ((fact, known) for fact in step.evidence for kind, known in kinds.items() if fact.endswith(kind)):
            name = known.get(int(facts[fact])) if facts[fact].isdigit() else None
            if name:
                facts[fact.removesuffix("_id")] = name
        steps.append(replace(step, evidence=facts))
        seen = view(facts["backend"]) if step.name == "backend" and "backend" in facts else None
        if seen:
            steps.append(_state(seen))
    made = of.explanation
    service = names.services.get(made.service, "")
    if made.reason in (Reason.NO_BACKEND, Reason.NO_BACKEND_ANSWERED, Reason.NO_BACKEND_LIMITED):
        steps.append(_nobody([seen for name in sorted(names.backends.values()) if name.startswith(f"{service}/") and (seen := view(name))]))
    return replace(
        of, explanation=replace(made, steps=tuple(steps)), service=service,
        backend=names.backends.get(made.backend, ""),
    )  # fmt: skip


def _nobody(views: Sequence[BackendView]) -> Step:
    """Why no backend of a service takes new flows: how many are so, and the first of each."""
    counts = Counter(view.effective.name for view in views)
    first = {view.effective.name: view.backend.name for view in reversed(views)}
    text = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "it has none"
    return Step("backends_state", f"of the service's backends: {text}", dict(sorted(first.items())))


def _state(view: BackendView) -> Step:
    """What was asked of a backend, and what is seen of it."""
    backend, hop = view.backend, view.next_hop
    text = f"it is {backend.admin.name}" + (f", and not yet as asked: {view.reconciling}" if view.reconciling else "")
    health = view.health.health if view.health else None
    last = health.last.outcome if health and health.last else None
    if health:
        kept = ", and goes on because none of its service is UP" if view.health and view.health.kept else ""
        text += f"; its health is {health.state.name}{kept}" + (f", by a probe that ended {last.why.name}" if last else "")
    facts = {
        "admin_state": backend.admin.name, "weight": str(backend.weight), "wanted_share": f"{view.wanted_share:.1%}",
        "slot_share": f"{view.slot_share:.1%}", "flows": str(view.live_flows), "reconciling": view.reconciling,
        "effective_state": view.effective.name, "health": health.state.name if health else "",
        "last_probe": f"{last.why.name} {last.detail}".rstrip() if last else "",
        "probed": view.health.target.words if view.health and view.health.target else "",
        "drain": backend.drain.action.name if backend.drain else "",
        "next_hop": "" if hop is None else f"{hop.interface} {hop.destination_mac.hex(':')}",
        "gateway": str(hop.gateway) if hop and hop.gateway else "", "trouble": hop.trouble if hop else "the kernel knows no way",
    }  # fmt: skip
    return Step("backend_state", text, {name: value for name, value in facts.items() if value})
