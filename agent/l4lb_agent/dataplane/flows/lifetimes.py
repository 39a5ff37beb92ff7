"""How long a record of NAT lives without packets: flow_timeout() of bpf/flow.h, as a table for who reads records. A flow is over once more
seconds than these have passed since `seen`."""

from collections.abc import Mapping, Sequence

from l4lb_agent.model import layout

_FIN_FIRST_ROW = 8  # a row holds each state twice: as it is, and with FLOW_BACKEND_FIN_FIRST


def row(config: layout.Config, idle_seconds: int) -> Sequence[int]:
    """Seconds by `index`. Established and answered flows live as long as their service says, closed ones for their quarantine."""
    seconds = list(config.timeout)[:_FIN_FIRST_ROW]
    seconds[layout.FLOW_ESTABLISHED] = seconds[layout.FLOW_UDP_ANSWERED] = idle_seconds
    seconds[layout.FLOW_CLOSED] = config.quarantine_short
    fin_first = list(seconds)
    fin_first[layout.FLOW_CLOSED] = config.quarantine_long
    return tuple(seconds + fin_first)


def index(word: int) -> int:
    """Place in a row for a record's word."""
    fin_first = word >> layout.FLOW_FLAGS_SHIFT & layout.FLOW_BACKEND_FIN_FIRST
    return word >> layout.FLOW_STATE_SHIFT & 7 | (_FIN_FIRST_ROW if fin_first else 0)


class Lifetimes:
    """Rows by service id. Flows of a service that is gone have no idle time left."""

    def __init__(self, config: layout.Config, idle_seconds: Mapping[int, int]) -> None:
        self._gone = row(config, 0)
        by_idle = {idle: row(config, idle) for idle in set(idle_seconds.values())}
        self._rows = {service: by_idle[idle] for service, idle in idle_seconds.items()}

    def of(self, service: int) -> Sequence[int]:
        """The row of a service."""
        return self._rows.get(service, self._gone)
