"""Random states of a balancer: services of every mode, lists, limits, drains, changes that settle, flows in all states, VLANs, few ports.
Each is drawn from `random`, which the test seeds."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from l4lb_agent.model import layout
from l4lb_agent.model.access.lists import Members
from l4lb_agent.model.access.prefixes import parse_all
from l4lb_agent.model.choice.affinity import NO_AFFINITY, Affinity
from tests.packet import keep, limits, odd, records, vlans
from tests.packet.balancer import LB_MAC, LOOPBACK, Balancer, mac
from tests.packet.bed import SIZES
from tests.packet.direct import OUTER
from tests.packet.frames import INNER, KEPT, RANGE, SNAT, VIPS, Frames
from tests.packet.limits import Bucket

WORLD = replace(SIZES, services=32, backends=128, addresses=32, rings_1021=70, port_ranges=8, flows=32, tracked_flows=256, affinities=128)
ALLOW, DENY = 5, 9
PREFIXES = ("198.51.100.0/24", "198.51.100.8/32", "198.0.0.0/8", "2001:db8:1::/48", "2001:db8:1::8/128", "2001:db8:1::/112")
RATE = 1_000_000


@dataclass
class Place:
    """One service: its number, family, protocol and what it was made with."""

    number: int
    family: int
    protocol: int
    mode: int
    single: bool  # one port of the first VIP
    vip: str
    port: int  # the first one

    @property
    def backends(self) -> range:
        """Ids of its backends."""
        return range(3 * self.number, 3 * self.number + 3)


class World:
    """A furnished balancer whose clock almost stands still: a second is six days."""

    def __init__(self, lb: Balancer) -> None:
        family = random.choice([0, 0, 4, 6])
        self.few = family > 0
        self.lb, self.frames, self.unrest = lb, Frames(lb, family), 0.2 if family else 0.15
        few = random.random() < 0.3
        lb.start(
            second_multiplier=1, rst_rate=random.choice([0, RATE, RATE]), rst_burst=RATE, icmp_rate=RATE,
            icmp_burst=random.choice([0, RATE, RATE]),
            port_low=40000 if few else 1024, port_high=40005 if few else 65535,
            spread_v4=int.from_bytes(b"\xac\x10\0\0", "little"), spread_v4_mask=int.from_bytes(b"\0\0\xff\xff", "little"),
        )  # fmt: skip
        lb.config.spread_v6[:] = list(bytes.fromhex("fd000077") + bytes(12))
        lb.snat(*[text for texts in SNAT.values() for text in texts[: random.choice([1, 2] if family else [0, 1, 2, 2])]])
        if random.random() < 0.5:
            vlans.stack(lb, [vlans.OF_WORLDS], random.choice([0, 1300]))
        if random.random() < 0.5:
            interface = layout.Interface(ifindex=LOOPBACK, mac=mac(LB_MAC))
            lb.write("interfaces", LOOPBACK, bytes(interface))
        if random.random() < 0.2:
            lb.configure(flags=lb.config.flags | layout.CONFIG_TRANSMIT_REDIRECT)
        self._lists()
        self.every = list(self._services())
        keep.name(lb, *(id_ for place in self.every if place.mode == layout.MODE_KEEP for id_ in place.backends))
        self.services = [one for one in self.every if one.family == family and one.single] or self.every

    def _lists(self) -> None:
        for number in (ALLOW, DENY):
            for key, value in Members(number, parse_all(random.sample(PREFIXES, 3), "prefixes")).elements.items():
                self.lb.write("lists", key, value)

    def _services(self) -> Iterator[Place]:
        lb, number, element = self.lb, 0, 0
        for family, (vip, host) in VIPS.items():
            echo = random.choice([0, layout.ADDRESS_ECHO])
            lb.own(vip, layout.ADDRESS_VIP | echo | random.choice([0, 0, layout.ADDRESS_SNAT]))
            lb.own(host, layout.ADDRESS_VIP | layout.ADDRESS_LOCAL)
            for protocol in (6, 17):
                for at, ports in ((vip, (80, 0)), (vip, (443, 0)), (host, (80, 0)), (vip, RANGE), (vip, INNER)):
                    number += 1
                    yield self._service(number, family, protocol, at, ports)
                element += 1
                lb.port_ranges(vip, protocol, element, (*RANGE, number - 1), (*INNER, number))

    def _service(self, number: int, family: int, protocol: int, vip: str, ports: tuple[int, int]) -> Place:
        lb, mode = self.lb, random.choice([0, 0, 0, 1, 1, 2, 2, 3, 4, 5])
        place = Place(number, family, protocol, mode, vip == VIPS[family][0] and not ports[1], vip, ports[0])
        flags = random.choice([0, 1, 2, 3]) << layout.SERVICE_ON_EMPTY_SHIFT | random.choice([0, 0, 1, 2]) << layout.SERVICE_HASH_SHIFT
        for flag in (layout.SERVICE_TRACK_ALL, layout.SERVICE_SPREAD, layout.SERVICE_OUTER_CHECKSUM):
            flags |= flag if random.random() < 0.3 else 0
        affinity = Affinity(600, random.choice([8, 24, 32])) if random.random() < 0.3 else NO_AFFINITY
        if affinity and mode > layout.MODE_KEEP:
            flags |= layout.SERVICE_TRACK_ALL
        mss = random.choice([0, 0, 500, layout.MSS_AUTO])
        before = 2 * number + random.choice([0, 1])
        lb.service(
            number, vip, ports[0], protocol, now=random.choice([2 * number] * 9 + [0]), before=before, mode=mode, flags=flags, mss=mss,
            port_end=ports[1], affinity=affinity, idle=random.choice([60, 900]),
        )  # fmt: skip
        for id_ in place.backends:
            self._backend(place, id_)
        self.change(place)
        if random.random() < 0.3:
            self._policy(place)
        return place

    def _policy(self, place: Place) -> None:
        lb, policied = self.lb, random.choice(["limits", "lists", "both"])
        if policied != "lists":
            buckets = [random.choice([None, Bucket(2, 100), Bucket(50, 100)]) for _ in range(2)]
            limits.limit(lb, place.number, service=buckets[0], source=buckets[1], prefix_v4=24)
        if policied != "limits":
            policy = layout.Policy.from_buffer_copy(lb.read("policies", place.number))
            policy.allow_list, policy.deny_list = random.choice([(ALLOW, 0), (0, DENY), (ALLOW, DENY)])
            lb.write("policies", place.number, bytes(policy))
            service = layout.Service.from_buffer_copy(lb.read("services", place.number))
            service.word |= layout.SERVICE_LISTED
            lb.write("services", place.number, bytes(service))
            for id_ in place.backends:
                lb.set_backend(id_, flags=layout.Backend.from_buffer_copy(lb.read("backends", id_)).flags | layout.BACKEND_LISTED)

    def _backend(self, place: Place, id_: int) -> None:
        family = random.choice([4, 6]) if place.mode >= layout.MODE_IPIP else place.family
        text = f"203.0.113.{id_}" if family == 4 else f"2001:db8:2::{id_:x}"
        if place.mode == layout.MODE_KEEP:  # several services have the same backends
            text = KEPT[family][id_ % 3 // 2]
        port = random.choice([0, 8080] + [8080, 8080] * (place.mode == layout.MODE_KEEP))
        self.lb.backend(
            id_, text, port, ifindex=random.choice([LOOPBACK] * 4 + [5, 0]), outer_source=OUTER[family],
            mtu=random.choice([0, 1500, 1500, 1400, 1280, 600]), service=place.number, destination=bytes([2, 0, 0, 0, 1, id_]),
        )  # fmt: skip
        self.lb.set_backend(id_, vlan=random.choice([0, 0, 0, 7]))
        if not random.randrange(8):
            self.lb.set_backend(id_, ifindex=random.choice([vlans.STACKED, vlans.STACKED + 1, 99]), vlan=layout.OUT_DEVICE)

    # --- what happens

    def change(self, place: Place) -> None:
        """Both rings of a service become others; some slots are at risk."""
        for ring in (2 * place.number, 2 * place.number + 1):
            slots = [random.choice(place.backends) for _ in range(1021)]
            slots = [0 if random.random() < 0.05 else slot for slot in slots]
            self.lb.ring(ring, [slot | (layout.SLOT_AT_RISK if random.random() < 0.6 else 0) for slot in slots])

    def happen(self) -> None:
        """Something changes: time, a backend, rings, routes."""
        kinds = ["age", "age", "backend", "backend", "ring", "routes", "limits", "fragments", "answers"]
        lb, what = self.lb, random.choice(["age", "age", "age", "backend", "ring", "answers", "answers"] if self.few else kinds)
        if what == "age":
            seconds = random.choice([1, 2, 4, 4, 6, 11] if self.few else [1, 4, 6, 11, 31, 61, 901])
            lb.age(seconds)
            lb.age_tracked(seconds)
        elif what == "backend":
            place = random.choice(self.services)
            busy = [record.backend for record in records.used(lb.elements("flows"), lb.elements("flows_v6"))]
            id_ = random.choice(busy or place.backends) if random.random() < 0.5 else random.choice(place.backends)
            kept = layout.Backend.from_buffer_copy(lb.read("backends", id_)).flags & layout.BACKEND_LISTED
            lb.set_backend(id_, flags=kept | random.choice([5, 5, 5, 1, 0, 2, 2, 2, 2, 5 | layout.BACKEND_HERE if place.mode == 2 else 1]))
        elif what == "ring":
            self.change(random.choice(self.services))
        elif what == "routes":
            lb.configure(route_generation=lb.config.route_generation + 1)
        elif what == "limits":
            limits.age_limits(lb, 60)
        elif what == "answers":
            for frame in self.frames.replies(random.choice(["SA", "SA", "FA"])):
                lb.run(frame)
        else:
            odd.age(lb, random.choice([10, 20, 90]))
