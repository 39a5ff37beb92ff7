"""How long an entry of the flow table lives without packets: flow_timeout() of bpf/flow.h, as a table for the sweeper. An entry is over
once more seconds than these have passed since `seen`."""

from collections.abc import Mapping, Sequence

from l4lb_agent.model import layout

LINGER = 2  # seconds between the end of an entry's life for the datapath and its deletion: no packet may still be using it
_FIN_FIRST_ROW = 8  # a row holds each state twice: as it is, and with FLOW_BACKEND_FIN_FIRST


def row(config: layout.Config, idle_seconds: int) -> Sequence[int]:
    """Seconds by `index`. Established and answered flows live as long as their service says, closed ones for their quarantine."""
    seconds = list(config.timeout)[:_FIN_FIRST_ROW]
    seconds[layout.FLOW_ESTABLISHED] = seconds[layout.FLOW_UDP_ANSWERED] = idle_seconds
    seconds[layout.FLOW_CLOSED] = config.quarantine_short
    fin_first = list(seconds)
    fin_first[layout.FLOW_CLOSED] = config.quarantine_long
    return tuple(seconds + fin_first)


def index(state_and_flags: int) -> int:
    """Place in a row for the 16 bits that hold state and, above it, flags."""
    return state_and_flags & 7 | state_and_flags >> 7 & _FIN_FIRST_ROW


def closed(state_and_flags: int) -> bool:
    """True for entries that only keep their port in quarantine."""
    return state_and_flags & 0xFF == layout.FLOW_CLOSED


class Lifetimes:
    """Rows by service id. Flows of a service that is gone have no idle time left."""

    def __init__(self, config: layout.Config, idle_seconds: Mapping[int, int]) -> None:
        self._gone = row(config, 0)
        by_idle = {idle: row(config, idle) for idle in set(idle_seconds.values())}
        self._rows = {service: by_idle[idle] for service, idle in idle_seconds.items()}

    def of(self, service: int) -> Sequence[int]:
        """The row of a service."""
        return self._rows.get(service, self._gone)
