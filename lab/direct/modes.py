"""The forwarding modes that the laboratory shows, and what each asks of the API and of backends."""

import enum
from typing import Any

from lab.direct.backend import Direct


class Mode(enum.Enum):
    """The value is the demo's name for it."""

    NAT = "nat"
    KEEP = "keep"  # NAT that keeps the client's address
    DSR = "dsr"
    IPIP = "ipip"
    GUE = "gue"
    FOU = "fou"  # GUE variant 1

    @property
    def direct(self) -> Direct | None:
        """How packets reach backends, if they answer clients directly."""
        return {Mode.NAT: None, Mode.KEEP: None, Mode.DSR: Direct.LINK}.get(self, Direct.TUNNEL)

    @property
    def through(self) -> bool:
        """Whether backends answer to clients, and must be routed through the load balancer."""
        return self is Mode.KEEP

    def service(self, **encap: Any) -> dict[str, Any]:
        """Arguments of create_service; `encap` has further fields of Encap."""
        if self is Mode.KEEP:
            return {"forwarding_mode": "nat", "client_address": "keep"}
        if self.direct is not Direct.TUNNEL:
            return {"forwarding_mode": self.value}
        encapsulation = "gue-variant-1" if self is Mode.FOU else self.value
        return {"forwarding_mode": "encap", "encap": {"encapsulation": encapsulation, **encap}}
