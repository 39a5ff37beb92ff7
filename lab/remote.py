"""The agent's TCP port on the management link, and the certificates of those who use it."""

from typing import Final

import l4lb
from lab.certificates import ROLES, Authority, Certificate
from lab.laboratory import Laboratory

PORT: Final = 7443
_CONFIGURATION: Final = """
[tls]
listen = "{listen}"
cert = "{cert}"
key = "{key}"
client_ca = "{ca}"
"""


class Remote:
    """Makes an authority and a certificate for each role. `address` is that of the agent when it is reached by another link, `authority`
    one that other agents have too."""

    def __init__(self, lab: Laboratory, *, address: str = "", authority: Authority | None = None) -> None:
        self._address = address or lab.topology.management("lb")
        self.target = f"{self._address}:{PORT}"
        self.authority = authority or Authority(lab.run.path / "pki")
        self._controllers = {role: self.authority.controller(role) for role in ROLES}

    def certificate(self, role: str) -> Certificate:
        """Of a controller with this role."""
        return self._controllers[role]

    def client(self, role: str) -> l4lb.Client:
        """A client with this role; it connects from where it is used."""
        shown = self._controllers[role]
        return l4lb.Client(self.target, ca=self.authority.ca, cert=shown.cert, key=shown.key)

    def configuration(self, uid: int) -> str:
        """The part of agent.toml for an agent that runs as `uid`."""
        made = self.authority.issue(f"agent-{self._address}", [f"IP:{self._address}"], owner=uid)
        return _CONFIGURATION.format(listen=self.target, cert=made.cert, key=made.key, ca=self.authority.ca)
