"""How the datapath is to work, as agent.toml says it: the part of the configuration that decisions depend on."""

import enum
from dataclasses import dataclass, field, replace

from l4lb_agent.model import layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.mapspec import Sizes


@dataclass(frozen=True)
class Timeouts:
    """Seconds an entry of the flow table lives without packets. Established and answered flows take their service's idle timeout."""

    syn: int = 5  # SYN seen; unanswered floods must go quickly
    answered: int = 30  # SYN+ACK seen
    closing: int = 120  # one FIN seen: the other side may go on sending (RFC 9293 half-closed)
    udp: int = 30  # no reply yet
    quarantine_long: int = 60  # a closed flow keeps its source port when the backend's FIN came first (RFC 9293 TIME-WAIT)
    quarantine_short: int = 5  # else
    tracked_syn: int = 10  # an entry of the flow table that only SYNs have touched
    tracked_fin: int = 60  # after the client's FIN
    tracked_rst: int = 5  # after the client's RST

    def by_state(self) -> dict[int, int]:
        """Seconds by enum flow_state."""
        return {
            layout.FLOW_SYN: self.syn,
            layout.FLOW_ANSWERED: self.answered,
            layout.FLOW_CLOSING: self.closing,
            layout.FLOW_CLOSED: self.quarantine_long,
            layout.FLOW_UDP: self.udp,
        }


class Echo(enum.StrEnum):
    """Which VIPs answer echo requests."""

    ALWAYS = "always"
    ELIGIBLE = "eligible"  # while one of its services has a backend for new flows
    NEVER = "never"


@dataclass(frozen=True)
class DatapathConfig:
    """[datapath] and [sizes] of agent.toml."""

    snat: tuple[Address, ...] = ()
    port_low: int = 1024
    port_high: int = 65535
    redirect: bool = False  # send back by redirect instead of XDP_TX
    rst_rate: int = 1000  # answers a second and CPU
    rst_burst: int = 1000
    echo: Echo = Echo.ELIGIBLE
    icmp_rate: int = 1000  # answers a second and CPU
    icmp_burst: int = 1000
    outer_source: tuple[Address, ...] = ()  # at most one of each family; else the address that the kernel would use
    spread_v4: tuple[bytes, int] = (b"\xac\x10\x00\x00", 16)  # prefix of outer sources that are spread, and its bits
    spread_v6: bytes = bytes.fromhex("0100") + bytes(14)  # the last 32 bits are spread (the discard prefix, RFC 6666)
    timeouts: Timeouts = field(default_factory=Timeouts)
    sizes: Sizes = field(default_factory=Sizes)

    def snat_of(self, family: int) -> tuple[Address, ...]:
        """SNAT addresses of one family, 4 or 6, in the order configured."""
        return tuple(address for address in self.snat if address.family == family)

    def reloaded(self, new: "DatapathConfig") -> "DatapathConfig":
        """This configuration with those settings of `new` that may change while the datapath works."""
        return replace(
            self, timeouts=new.timeouts, rst_rate=new.rst_rate, rst_burst=new.rst_burst, echo=new.echo, icmp_rate=new.icmp_rate,
            icmp_burst=new.icmp_burst,
        )  # fmt: skip


@dataclass(frozen=True)
class Secrets:
    """Keys of the datapath's two hashes, 16 bytes each. `slot` is also the ring's: load balancers that share it agree on every slot."""

    slot: bytes
    index: bytes

    @staticmethod
    def words(secret: bytes) -> tuple[int, int]:
        """The two 64-bit words of one secret as `config` holds them."""
        return int.from_bytes(secret[:8], "little"), int.from_bytes(secret[8:], "little")
