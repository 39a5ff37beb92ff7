"""States right at the borders of what the datapath decides, made by writing them into the maps, and a packet that looks at each: a second
before and after a timeout, sequence numbers around what an entry holds, MTUs around a packet's length. Drawn from `random`."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.choice.layout import AffinityBucket
from l4lb_agent.model.explain import records as model
from l4lb_agent.model.explain.moment import Moment
from l4lb_agent.model.explain.packet import ACK, FIN, RST, SYN, Tuple
from l4lb_agent.model.explain.synthesis import Message, Wanted, frame
from tests.packet import records
from tests.packet.balancer import LB_MAC, SLOT_SECRET
from tests.packet.frames import CLIENT_MAC, CLIENTS, KEPT, ROUTER, address

if TYPE_CHECKING:
    from tests.packet.worlds import Place, World

BESIDE: Final = (-1, 0, 1)
NEAR: Final = 4 << 20  # sequence numbers that are of one flow
MIX: Final = 0x94D049BB133111EB
WORD: Final = 1 << 32
OVERHEADS: Final = (0, 0, 20, 28, 32, 40, 48, 52)  # of outer headers
TAKES: Final = layout.BACKEND_KEEP | layout.BACKEND_ELIGIBLE


class Borders:
    """Those of one world; `now` gives its time."""

    def __init__(self, world: "World", now: Callable[[], Moment]) -> None:
        self._world, self._lb, self._now = world, world.lb, now
        self._ports = 20000

    def frame(self) -> bytes:
        """A packet at some border, or any where the world has no such state."""
        kinds = [self._age, self._repeats, self._closed, self._marked, self._affine, self._tracked, self._tracked, self._fragment]
        kinds += [self._fragment, self._limited, self._narrow, self._told, self._carries, self._optioned, self._own_backend]
        wanted = random.choice(kinds)()
        return frame(wanted, CLIENT_MAC, LB_MAC) if isinstance(wanted, Wanted) else wanted or self._world.frames.any()

    # --- NAT's records

    def _age(self) -> Wanted | None:
        """A flow that is over now, a second later, or since a second."""
        one = self._record()
        if one is None:
            return None
        lasts = model.timeout(self._now(), model.Record(one.id, one.element, Tuple()))
        one.element.seen = (self._now().second - lasts + random.choice(BESIDE)) % WORD
        self._write(one)
        return random.choice([self._from_client, self._from_backend])(one, random.choice([ACK, SYN, SYN | ACK, FIN | ACK]))

    def _repeats(self) -> Wanted | None:
        """A SYN of a flow that has just begun, when the ring sends new flows elsewhere."""
        one = self._record(6)
        if one is None:
            return None
        self._set(one, random.choice([layout.FLOW_SYN, layout.FLOW_SYN, layout.FLOW_ANSWERED]))
        one.element.seen = self._now().second
        one.element.last_sequence = (one.element.seen - random.choice([2, 3, 3, 4, 4, 5])) % WORD
        self._write(one)
        self._lead_elsewhere(one)
        return self._from_client(one, SYN, one.element.sequence + random.choice([0, 0, 0, 1]))

    def _closed(self) -> Wanted | None:
        """A SYN for a flow that has closed in order, which is newer than it or not."""
        one = self._record(6)
        if one is None:
            return None
        fins = layout.FLOW_CLIENT_FIN | layout.FLOW_BACKEND_FIN | random.choice([0, layout.FLOW_BACKEND_FIN_FIRST])
        self._set(one, layout.FLOW_CLOSED, one.all_flags & layout.FLOW_HELD | fins)
        one.element.seen, one.element.last_sequence = self._now().second - random.choice([0, 5, 6]), random.getrandbits(32)
        self._write(one)
        if random.random() < 0.8:
            self._lead(one.element.service, one.backend)
        return self._from_client(
            one, SYN, (one.element.last_sequence << 16) + random.choice([-1, 0, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000])
        )

    def _marked(self) -> Wanted | None:
        """A backend's handshake, and a router's error about it, of a flow that the client or the ring has left."""
        one = self._record()
        if one is None:
            return None
        mark = random.choice([layout.FLOW_LEFT, layout.FLOW_DISPLACED])
        self._set(one, one.state, one.all_flags & ~(layout.FLOW_LEFT | layout.FLOW_DISPLACED) | mark)
        one.element.seen = self._now().second
        self._write(one)
        self._lb.set_backend(one.backend, flags=TAKES)
        if random.random() < 0.5:
            return self._from_backend(one, SYN | ACK)
        quoted = Wanted(one.protocol, one.snat, one.backend_address, one.snat_port, one.backend_port)
        v4 = one.element.client != 0
        message = Message(3 if v4 else 1, 3 if v4 else 4, 0, quoted)
        return Wanted(1 if v4 else 58, one.backend_address, one.snat, message=message)

    # --- where flows go

    def _affine(self) -> Wanted | None:
        """A client whose entry is over now, a second later, or since a second; or leads to what is another service's by now."""
        found = [place for place in self._world.every if self._service(place.number).word & layout.SERVICE_AFFINITY]
        if not found:
            return None
        place = random.choice(found)
        service, wanted, now = self._service(place.number), self._client(place, SYN), self._now()
        low, high = hashing.words(wanted.source)
        mixed = (low & service.affinity_mask[0]) ^ (place.number * MIX & (1 << 64) - 1)
        hashed = hashing.mix(mixed, high & service.affinity_mask[1], SLOT_SECRET)
        led, kept = random.sample(place.backends, 2)
        self._lead(place.number, led, led)
        self._lb.set_backend(kept, flags=random.choice([TAKES] * 3 + [1]), service=place.number + random.choice([0, 0, 0, 1]))
        left = random.choice([*BESIDE, 2, *(service.affinity_seconds + more for more in BESIDE)])
        word = hashed >> 40 << 40 | (now.second + left & 0xFFFFFF) << 15 | kept
        number = hashed & self._lb.config.affinity_mask
        bucket = AffinityBucket.from_buffer_copy(self._lb.read("affinity", number))
        bucket.entry[0] = word
        for place_of, entry in enumerate(bucket.entry):
            if place_of and entry >> 40 == word >> 40:
                bucket.entry[place_of] = 0
        self._lb.write("affinity", number, bytes(bucket))
        return wanted

    def _tracked(self) -> Wanted | None:
        """A flow of DSR or ENCAP with entries around its sequence number and around their end, in a bucket with room or without."""
        found = [place for place in self._world.every if place.mode > layout.MODE_KEEP]
        if not found:
            return None
        place = random.choice(found)
        wanted = self._client(place, random.choice([SYN, SYN, ACK, ACK, FIN | ACK, RST]))
        ends = wanted.source, wanted.destination, wanted.source_port, wanted.destination_port, wanted.protocol
        service, hashed = self._service(place.number), hashing.tuple_hash(*ends, SLOT_SECRET)
        kind = (service.word & layout.SERVICE_HASH) >> layout.SERVICE_HASH_SHIFT
        tag = hashing.slot_hash(*ends, SLOT_SECRET, kind) << 16 | hashed & 0xFFFF
        now, full = self._now(), random.random() < 0.4
        config = self._lb.config
        lasts = {layout.TRACKED_SYN: config.tracked_syn, layout.TRACKED_FIN: config.tracked_fin, layout.TRACKED_RST: config.tracked_rst}
        bucket = layout.FlowBucket()
        for number, entry in enumerate(bucket.entry):
            own = number < random.choice([1, 1, 2, 3])
            entry.state = random.choice([layout.TRACKED_UDP] if place.protocol == 17 else [1, 2, 3, 4, 4, 6, 7])
            if own or full:
                entry.word = (tag if own else tag + number << 4) << 16 | random.choice(place.backends)
            age = random.choice([0, 0, 0, lasts.get(entry.state, service.idle_seconds) + random.choice(BESIDE)])
            entry.stamp, entry.rank = (now.second - age) % 65536, random.choice([0, 1, 2])
            apart = random.choice([0, 1, 1, 1, 2, *(way * NEAR + more for way in (1, -1) for more in BESIDE)])
            entry.sequence = (wanted.sequence + apart) % WORD
        self._lb.write("flow_table", hashed * MIX >> 32 & config.flow_mask, bytes(bucket))
        self._lead(place.number, *(random.choice(place.backends) for _ in range(2)))
        for id_ in place.backends:
            self._lb.set_backend(id_, flags=random.choice([TAKES, TAKES, 1, 2]), service=place.number)
        return wanted

    # --- what is carried

    def _fragment(self) -> Wanted:
        """A later fragment, or the first one again, around the times for which the first one counts and around where it ended."""
        place = random.choice([one for one in self._world.every if one.port < 1000])
        first = replace(
            self._client(place, ACK), identification=random.choice([1, 2]), more=True, payload=40 - (20 if place.protocol == 6 else 8),
            may_fragment=place.family == 4,
        )  # fmt: skip
        if place.protocol == 6:
            self._lb.run(frame(replace(first, more=False, flags=SYN, identification=0, payload=0), CLIENT_MAC, LB_MAC))
        self._lb.run(frame(first, CLIENT_MAC, LB_MAC))
        age, other = random.choice([16, 80, 80]) + random.choice(BESIDE), random.choice([0, random.choice(place.backends)])
        if other:
            self._lb.set_backend(other, flags=TAKES)
        for number, raw in self._lb.used("fragments"):
            bucket = layout.FragmentBucket.from_buffer_copy(raw)
            for entry in bucket.entry:
                entry.stamp = (self._now().tick - random.choice([age, 0])) % WORD
                if entry.word and other:
                    entry.word = entry.word & ~0xFFFF | other
            self._lb.write("fragments", number, bytes(bucket))
        if random.random() < 0.3:
            return replace(first, source_port=first.source_port + random.choice([0, 1]))
        offset, payload = random.choice([(32, 8), (40, 8), (48, 8), (40, 1300), (40, 1300), (65528, 7), (65528, 8)])
        if payload == 1300:
            self._narrow(payload)  # it is 48 bytes longer
        return replace(first, offset=offset, more=False, payload=payload)

    def _told(self) -> Wanted:
        """An error about a service's packet that tells an MTU which no link may have, or the least that one may."""
        place = random.choice(self._world.every)
        sent = Wanted(place.protocol, address(place.vip), address(CLIENTS[place.family][0]), place.port, 40000)
        kind, code, least = (3, 4, 68) if place.family == 4 else (2, 0, 1280)
        message = Message(kind, code, least + random.choice(BESIDE), sent)
        return Wanted(1 if place.family == 4 else 58, address(ROUTER[place.family]), sent.source, message=message)

    def _carries(self) -> Wanted | bytes:
        """What begins a flow from the last port that NAT takes, or with few hops left; UDP also without a checksum."""
        ports = [port for more in BESIDE if (port := self._lb.config.port_high + more) < 65536]
        place = random.choice(self._world.every)
        self._lead(place.number, random.choice(place.backends))
        wanted = replace(self._client(place, SYN), source_port=random.choice(ports), ttl=random.choice([64, 64, 1, 2, 3]))
        raw, at = frame(wanted, CLIENT_MAC, LB_MAC), 40 if place.family == 4 else 60
        return raw[:at] + b"\0\0" + raw[at + 2 :] if place.protocol == 17 and random.random() < 0.5 else wanted

    def _optioned(self) -> Wanted:
        """As many IPv6 options in one header as are walked, or one more."""
        ones = random.choice([22, 23, 24])
        options = bytes(ones) + bytes([1, 28 - ones]) + bytes(28 - ones)
        return replace(self._client(random.choice([one for one in self._world.every if one.family == 6]), SYN), headers=((60, options),))

    def _own_backend(self) -> Wanted | None:
        """A backend with its clients' addresses kept, or who has the next address, is a client itself."""
        found = [one for one in self._world.every if one.mode == layout.MODE_KEEP]
        if not found:
            return None
        place = random.choice(found)
        return replace(self._client(place, SYN), source=address(random.choice(KEPT[place.family])))

    def _limited(self) -> Wanted | None:
        """The first new flow that a limit of one knows of."""
        found = [place for place in self._world.every if self._service(place.number).word & layout.SERVICE_LIMITED]
        if not found:
            return None
        for name in ("service_limits", "source_limits"):
            for number, _ in self._lb.used(name):
                self._lb.write(name, number, bytes(self._lb.specs[name].value_size))
        place = random.choice(found)
        policy = layout.Policy.from_buffer_copy(self._lb.read("policies", place.number))
        for name in ("service", "source"):
            bursts = random.choice([1, 1, 2])
            setattr(policy, f"{name}_tolerance", bursts * getattr(policy, f"{name}_interval"))
        self._lb.write("policies", place.number, bytes(policy))
        return self._client(place, random.choice([SYN, SYN, ACK]))

    def _narrow(self, size: int = 0) -> bytes:
        """A packet as long as the ways take, or a byte more or less."""
        raw = self._world.frames.any()
        length = size or len(raw) - 14
        mtu = max(0, min(65535, length + random.choice(BESIDE) + random.choice(OVERHEADS)))
        for place in self._world.every:
            for id_ in place.backends:
                self._lb.set_backend(id_, mtu=mtu)
        for one in records.used(self._lb.elements("flows"), self._lb.elements("flows_v6")):
            one.element.mtu, one.element.route_generation = mtu, self._lb.config.route_generation & 0xFFFF
            self._write(one)
        return raw

    # --- what these have in common

    def _record(self, protocol: int = 0) -> records.Record | None:
        """Some flow's record, of a new one where there is none."""
        for _ in range(2):
            found = records.used(self._lb.elements("flows"), self._lb.elements("flows_v6"))
            found = [one for one in found if protocol in (0, one.protocol)]
            if found:
                return random.choice(found)
            places = [place for place in self._world.every if place.mode <= layout.MODE_KEEP and place.protocol == (protocol or 6)]
            if not places:
                return None
            place = random.choice(places)
            self._lead(place.number, *[random.choice(place.backends)] * 2)
            self._lb.run(frame(self._client(place, SYN), CLIENT_MAC, LB_MAC))
        return None

    def _set(self, one: records.Record, state: int, flags: int | None = None) -> None:
        kept = one.element.word & ~(15 << layout.FLOW_STATE_SHIFT | 255 << layout.FLOW_FLAGS_SHIFT)
        flags = one.all_flags & layout.FLOW_HELD if flags is None else flags
        one.element.word = kept | state << layout.FLOW_STATE_SHIFT | flags << layout.FLOW_FLAGS_SHIFT

    def _write(self, one: records.Record) -> None:
        self._lb.write("flows", one.id, bytes(one.element))

    def _service(self, number: int) -> layout.Service:
        return layout.Service.from_buffer_copy(self._lb.read("services", number))

    def _lead(self, service: int, now: int, before: int = 0) -> None:
        """All of a service's new flows go to one backend, which takes them."""
        for ring, id_ in ((2 * service, now), (2 * service + 1, before or now)):
            self._lb.ring(ring, [id_ | layout.SLOT_AT_RISK])
        self._lb.set_backend(now, flags=TAKES)

    def _lead_elsewhere(self, one: records.Record) -> None:
        place = next(place for place in self._world.every if place.number == one.element.service)
        self._lead(place.number, random.choice([id_ for id_ in place.backends if id_ != one.backend]))
        self._lb.set_backend(one.backend, flags=TAKES)

    def _client(self, place: "Place", flags: int) -> Wanted:
        """A client's packet for a service, from a port of its own."""
        self._ports += 1
        ends = address(random.choice(CLIENTS[place.family])), address(place.vip), self._ports, place.port
        return Wanted(place.protocol, *ends, flags, random.getrandbits(32), random.getrandbits(32))

    def _from_client(self, one: records.Record, flags: int, sequence: int | None = None) -> Wanted:
        sequence = (one.element.sequence if sequence is None else sequence) % WORD
        return Wanted(one.protocol, one.client, one.vip, one.client_port, one.vip_port, flags, sequence, random.getrandbits(32))

    def _from_backend(self, one: records.Record, flags: int) -> Wanted:
        ends = one.backend_address, one.snat, one.backend_port, one.snat_port
        return Wanted(one.protocol, *ends, flags, random.getrandbits(32), (one.element.sequence + 1) % WORD)
