"""The ordered map writes that lead from what the maps hold to what they must hold.

What is pointed at is written before what points to it, and taken away after: a packet that arrives after any prefix of the plan finds a
service, a ring and its backends all as before or all as wanted. The order:

1. prefixes of lists that appear
2. backends that appear or change and can take flows
3. rings that no service points to yet and port ranges that no address does, after a grace period when packets may still be reading what
   was there
4. entries of `kept` that appear, SNAT addresses, VLANs, config: what new flows need, and their answers
5. policies, services; the one 64-bit word of a service's element exchanges both its rings
6. index entries that appear, beside those that go; then addresses, which may lead to services by port ranges: a service of one port is
   there before a range around it
7. index entries that go
8. after a grace period, what nothing points to any more: services, policies, prefixes of lists, entries of `kept` and what config says of
   them, addresses, SNAT addresses, VLANs, backends that take or keep no more flows
"""

from collections.abc import Callable, Iterator

from l4lb_agent.model import index, layout
from l4lb_agent.model.tables import Elements, Grace, Step, Tables, Write

Worth = Callable[[bytes], int]  # of an element to packets: what is worth less than before is written late


def plan(actual: Tables, wanted: Tables) -> tuple[Step, ...]:
    """The steps from `actual` to `wanted`; none when they agree. Elements of rings and port ranges that `wanted` does not name are left as
    they are."""
    appearing, going = _index(actual, wanted, "index")
    keeping, forgotten = _index(actual, wanted, "kept")
    configured, settled = _config(actual.get("config"), wanted.get("config"))
    listed, unlisted = _lists(actual.get("lists"), wanted.get("lists"))
    steps: list[Step] = [
        *listed,
        *_early(actual, wanted, "backends", _backend),
        *_beside(actual, wanted),
        *keeping,
        *_early(actual, wanted, "snat", any),
        *_early(actual, wanted, "vlans", any),
        *configured,
        *_early(actual, wanted, "policies", any),
        *_early(actual, wanted, "services", any),
        *appearing,
        *_early(actual, wanted, "addresses", any),
        *going,
    ]
    late = [
        *_late(actual, wanted, "services", any),
        *_late(actual, wanted, "policies", any),
        *unlisted,
        *settled,
        *forgotten,
        *_late(actual, wanted, "addresses", any),
        *_late(actual, wanted, "snat", any),
        *_late(actual, wanted, "vlans", any),
        *_late(actual, wanted, "backends", _backend),
    ]
    return (*steps, Grace(), *late) if late else tuple(steps)


def _early(actual: Tables, wanted: Tables, name: str, worth: Worth) -> Iterator[Write]:
    """Writes of elements that come into use, stay in use or were not in use."""
    for key, before, after in _changes(actual.get(name), wanted.get(name)):
        if worth(after) >= worth(before):
            yield _write(name, key, after)


def _late(actual: Tables, wanted: Tables, name: str, worth: Worth) -> Iterator[Write]:
    """Writes of elements that go out of use."""
    for key, before, after in _changes(actual.get(name), wanted.get(name)):
        if worth(after) < worth(before):
            yield _write(name, key, after)


def _changes(actual: Elements, wanted: Elements) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Key, element before, element after, of those that differ; an absent one is all zero."""
    for key in sorted(actual.keys() | wanted.keys()):
        before, after = actual.get(key, b""), wanted.get(key, b"")
        size = max(len(before), len(after))
        before, after = before.ljust(size, b"\0"), after.ljust(size, b"\0")
        if before != after:
            yield key, before, after


def _backend(element: bytes) -> int:
    """2 when flows are sent there, 1 when they only stay there."""
    backend = layout.Backend.from_buffer_copy(element)
    keeps = bool(backend.flags & layout.BACKEND_KEEP)
    return keeps + (keeps and bool(backend.ifindex))


def _beside(actual: Tables, wanted: Tables) -> list[Step]:
    """Writes of elements that are never changed while something points to them."""
    writes: list[Step] = []
    rewritten = False
    for name in (*(f"rings_{size}" for size in layout.RING_SIZES), "port_ranges"):
        there = actual.get(name)
        for key, element in sorted(wanted.get(name).items()):
            if there.get(key) != element:
                writes.append(_write(name, key, element))
                rewritten |= any(there.get(key, b""))
    return [Grace(), *writes] if rewritten else writes


def _lists(actual: Elements, wanted: Elements) -> tuple[list[Write], list[Write]]:
    """Prefixes that appear, and those that go. Between, both are there: since the longest one counts, an address then gets the answer of
    the old list or that of the new one, whichever prefixes are written already. Thousands stay: they are not sorted."""
    if actual == wanted:
        return [], []
    appearing = [Write("lists", key, value, "a prefix") for key, value in wanted.items() if actual.get(key) != value]
    going = [Write("lists", key, bytes(len(value)), "a prefix is given up") for key, value in actual.items() if key not in wanted]
    return appearing, going


def _index(actual: Tables, wanted: Tables, name: str) -> tuple[list[Write], list[Write]]:
    """Buckets with the new entries beside the old ones, then without the old ones. An entry that moves is in two places meanwhile."""
    appearing, going = [], []
    for key, before, after in _changes(actual.get(name), wanted.get(name)):
        old, new = index.words(before), index.words(after)
        together = list(new)
        for place, word in enumerate(old):
            if word and word not in together and 0 in together:
                together[place if not together[place] else together.index(0)] = word
        if set(new) - set(old):
            appearing.append(_write(name, key, index.packed(together)))
        if set(old) - set(new):
            going.append(_write(name, key, after))
    return appearing, going


def _config(actual: Elements, wanted: Elements) -> tuple[list[Write], list[Write]]:
    """The configuration that also tells of the entries of `kept` that go, then without them."""
    together, after_all = [], []
    for key, before, after in _changes(actual, wanted):
        old, both = layout.Config.from_buffer_copy(before), layout.Config.from_buffer_copy(after)
        both.flags |= old.flags & layout.CONFIG_KEEP
        for place, word in enumerate(old.kept_filter):
            both.kept_filter[place] |= word
        if bytes(both) != before:
            together.append(_write("config", key, bytes(both)))
        if bytes(both) != after:
            after_all.append(_write("config", key, after))
    return together, after_all


def _write(name: str, key: bytes, element: bytes) -> Write:
    number = int.from_bytes(key, "little")
    return Write(name, key, element, f"{name}[{number}]" if any(element) else f"{name}[{number}] is given up")
