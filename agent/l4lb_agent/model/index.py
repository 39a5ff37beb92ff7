"""Where in `index` the datapath finds services and addresses, and in `kept` backends: two-choice buckets of eight places.

An entry is in its first bucket unless that one is full; then in its second. What is there already stays where it is, so that a change
touches only the buckets of what changes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from l4lb_agent.model import hashing, layout
from l4lb_agent.model.errors import ResourceExhausted
from l4lb_agent.model.tables import Elements, array_key

PLACES = 8
Bucket = list[int]  # entries by place, 0 = empty


@dataclass(frozen=True)
class Entry:
    """One entry and the buckets where it may be."""

    word: int
    first: int
    second: int


def entry(kind: int, id_: int, address: bytes, port: int, protocol: int, secret: tuple[int, int], mask: int) -> Entry:
    """The entry of a service, or of an address or backend with port and protocol 0."""
    alone = kind != layout.INDEX_SERVICE
    hashed = hashing.address_hash(address, secret) if alone else hashing.index_hash(address, port, protocol, secret)
    first = hashed & mask
    second = (hashed >> 16) & mask
    return Entry((hashed >> 32) << 32 | kind << 16 | id_, first, second ^ 1 if second == first else second)


def place(actual: Mapping[bytes, bytes], wanted: Iterable[Entry], name: str = "index", setting: str = "services") -> Elements:
    """Every bucket that holds something, for the `wanted` entries, close to the `actual` ones.

    Raises ResourceExhausted, with the map's `name` and the `setting` of its size, when both buckets of an entry are full, which at the load
    of a sixteenth (`kept`: an eighth) means that the secret is bad.
    """
    before = {int.from_bytes(key, "little"): words(value) for key, value in actual.items()}
    buckets: dict[int, Bucket] = {}
    new: list[Entry] = []
    overflowed: list[Entry] = []
    for item in wanted:
        if _keep(before, buckets, item.first, item.word):
            continue
        if _keep(before, buckets, item.second, item.word):
            overflowed.append(item)
        else:
            new.append(item)
    for item in overflowed:
        if _put(buckets, item.first, item.word):
            bucket = buckets[item.second]
            bucket[bucket.index(item.word)] = 0
    for item in new:
        if not _put(buckets, item.first, item.word) and not _put(buckets, item.second, item.word):
            raise ResourceExhausted(
                f"both buckets of an entry of the map {name} are full: raise [sizes] {setting} in agent.toml",
                reason=f"{name.upper()}_FULL",
                metadata={"setting": setting},
            )
    return {array_key(number): packed(bucket) for number, bucket in buckets.items() if any(bucket)}


def words(value: bytes) -> Bucket:
    """The entries of a bucket."""
    return list(layout.Bucket.from_buffer_copy(value).entry)


def packed(bucket: Bucket) -> bytes:
    """The bytes of a bucket."""
    return bytes(layout.Bucket((layout.U64 * PLACES)(*bucket)))


def _keep(before: Mapping[int, Bucket], buckets: dict[int, Bucket], number: int, word: int) -> bool:
    if word not in before.get(number, ()):
        return False
    buckets.setdefault(number, [0] * PLACES)[before[number].index(word)] = word
    return True


def _put(buckets: dict[int, Bucket], number: int, word: int) -> bool:
    bucket = buckets.setdefault(number, [0] * PLACES)
    if 0 not in bucket:
        return False
    bucket[bucket.index(0)] = word
    return True
