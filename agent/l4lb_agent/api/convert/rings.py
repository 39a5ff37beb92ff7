"""Rings as the API shows them."""

from l4lb.v1 import ring_pb2
from l4lb_agent.api.convert.health import shown_effective
from l4lb_agent.api.convert.parts import moment
from l4lb_agent.control.facade import RingShare, RingView


def ring(view: RingView) -> ring_pb2.Ring:
    """One ring."""
    of = view.service
    return ring_pb2.Ring(
        service=of.service.name, size=of.service.ring_size, digest=of.ring_digest, before_digest=of.before_ring_digest,
        empty_slots=view.empty_slots, differing_slots=of.differing_slots, at_risk_slots=of.at_risk_slots,
        settle_time=moment(of.settle_time), shares=map(_share, view.shares), slots=view.slots, before_slots=view.before,
    )  # fmt: skip


def _share(of: RingShare) -> ring_pb2.RingShare:
    view = of.view
    return ring_pb2.RingShare(
        backend=view.backend.name, datapath_id=view.datapath_id, weight=view.backend.weight, wanted_share=view.wanted_share,
        slot_share=view.slot_share, slots=of.slots, before_slots=of.before_slots, arriving_slots=of.arriving_slots,
        leaving_slots=of.leaving_slots, active_flows=view.live_flows, reconciling_reason=view.reconciling,
        effective_state=shown_effective(view.effective),
    )  # fmt: skip
