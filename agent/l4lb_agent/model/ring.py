"""Weighted Maglev: which backend owns which slot of a service's ring.

Maglev (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, 3.4) with turns in proportion to weight:
a backend's k-th turn comes in the round ceil(k * largest weight / its weight). Each turn takes the next free slot of the backend's own
permutation. Everything depends on identities, weights and the secret alone: not on the order of input, not on the scale of the weights.
"""

import hashlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

ALGORITHM_VERSION = 1


@dataclass(frozen=True)
class Ring:
    """`slots[i]` is an index in `owners`, which is sorted. Without owners there is no ring and `slots` is empty."""

    size: int
    owners: tuple[str, ...]
    slots: "array[int]"
    digest: str  # SHA-256 over algorithm version, size, digest of the secret and slot to owner, in hex; "" without a ring

    def share(self, owner: str) -> float:
        """Share of the slots that `owner` has, 0 to 1."""
        if owner not in self.owners:
            return 0.0
        return self.slots.count(self.owners.index(owner)) / self.size

    def with_ids(self, ids: Mapping[str, int]) -> "array[int]":
        """The slots as datapath ids."""
        table = [ids[owner] for owner in self.owners]
        return array("H", [table[owner] for owner in self.slots])


def build(size: int, weights: Mapping[str, int], secret: bytes) -> Ring:
    """The ring of `size` slots (a prime) over identities with their weights; weight 0 is absence."""
    owners = tuple(sorted(identity for identity, weight in weights.items() if weight > 0))
    if not owners:
        return Ring(size, (), array("H"), "")
    slots = _fill(size, _turns(size, [weights[owner] for owner in owners]), [_permutation(o, size, secret) for o in owners])
    return Ring(size, owners, slots, digest(size, owners, slots, secret))


def _turns(size: int, weights: list[int]) -> list[int]:
    """Owner indices in the order of their turns, at least `size` of them."""
    most, count = max(weights), len(weights)
    total = sum(weights)
    rounds = -(-size * most // total)
    while (missing := size - sum(rounds * weight // most for weight in weights)) > 0:
        rounds += max(1, missing * most // total)
    # The k-th turn of weight w is in round ceil(k * most / w); within a round in the order of the owners.
    keys = [-(-k * most // w) * count + owner for owner, w in enumerate(weights) for k in range(1, rounds * w // most + 1)]
    keys.sort()
    return [key % count for key in keys]


def _permutation(identity: str, size: int, secret: bytes) -> tuple[int, int]:
    """Offset and skip of an identity's walk over all slots."""
    hashed = hashlib.blake2b(identity.encode(), digest_size=16, key=secret, person=b"l4lb ring").digest()
    return int.from_bytes(hashed[:8], "little") % size, int.from_bytes(hashed[8:], "little") % (size - 1) + 1


def _fill(size: int, turns: list[int], permutations: list[tuple[int, int]]) -> "array[int]":
    none = 0xFFFF
    slots = array("H", [none]) * size
    position = [offset for offset, _ in permutations]
    skips = [skip for _, skip in permutations]
    for owner in turns[:size]:
        slot, skip = position[owner], skips[owner]
        while slots[slot] != none:
            slot += skip
            if slot >= size:
                slot -= size
        slots[slot] = owner
        position[owner] = slot
    return slots


def digest(size: int, owners: tuple[str, ...], slots: "array[int]", secret: bytes) -> str:
    """See Ring."""
    made = hashlib.sha256(f"{ALGORITHM_VERSION} {size} {hashlib.sha256(secret).hexdigest()}\n".encode())
    made.update("\n".join(owners).encode() + b"\n\n")
    made.update(slots.tobytes())
    return made.hexdigest()
