"""What a service's ring is like, counted slot by slot: shares, and what a change that has not settled yet moves where."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain

from l4lb_agent.control.applying.rings import Image
from l4lb_agent.control.facade import BackendView, RingShare, RingView, ServiceView
from l4lb_agent.model.windows.settle import Pair


def look(service: ServiceView, backends: Iterable[BackendView], image: Image | None, pair: Pair | None, *, slots: bool) -> RingView:
    """A service has two rings (`pair`) when a change of it has a window, else one (`image`), or none. Takes milliseconds."""
    nobody = array("H", bytes(2 * service.service.ring_size))
    now = pair.now if pair else image.numbers if image else nobody
    before = pair.before if pair else now
    at_now, at_before = Counter(now), Counter(before)
    arriving, leaving = _moved(pair)
    shares = [
        RingShare(
            view,
            slots=at_now[view.datapath_id] if view.datapath_id else 0,
            before_slots=at_before[view.datapath_id] if view.datapath_id else 0,
            arriving_slots=arriving.get(view.datapath_id, 0),
            leaving_slots=leaving.get(view.datapath_id, 0),
        )
        for view in backends
    ]
    differs = pair is not None and bool(pair.open)
    return RingView(service, shares, at_now[0], now if slots else (), before if slots and differs else ())


def _moved(pair: Pair | None) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """By backend id: slots that differ and are its own for new flows, and for flows without an entry."""
    if pair is None:
        return {}, {}
    differing = list(chain.from_iterable(group.slots for group in pair.open))
    return Counter(pair.now[slot] for slot in differing), Counter(pair.before[slot] for slot in differing)
