"""Source affinity: new flows of a client, or of a prefix of clients, go where its last one went."""

from dataclasses import dataclass

from l4lb_agent.model.choice.layout import AFFINITY_LONGEST

DEFAULT_SECONDS = 3 * 3600
MAX_SECONDS = AFFINITY_LONGEST
_MAPPED_BITS = 96  # before an IPv4 address in maps
_BITS = 128


@dataclass(frozen=True)
class Affinity:
    """`seconds` after a client's last new flow it is forgotten; clients that are equal in `prefix` bits of their address count as one."""

    seconds: int = 0
    prefix: int = 0

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.seconds > 0


NO_AFFINITY = Affinity()


def longest_prefix(family: int) -> int:
    """Bits of an address."""
    return 32 if family == 4 else _BITS


def mask(affinity: Affinity, family: int) -> tuple[int, int]:
    """What of an address in a map tells clients apart, as two words of the machine."""
    bits = affinity.prefix + (_MAPPED_BITS if family == 4 else 0)
    packed = ((1 << _BITS) - (1 << _BITS - bits)).to_bytes(16, "big")
    return int.from_bytes(packed[:8], "little"), int.from_bytes(packed[8:], "little")
