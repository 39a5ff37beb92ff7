"""Short ways to write model values in tests."""

from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.config import DatapathConfig, Secrets
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.model.observed import NextHop
from l4lb_agent.model.service import Protocol, VirtualService

SECRETS = Secrets(bytes(range(16)), bytes(range(16, 32)))
SNAT = "10.0.0.200"


def address(text: str) -> Address:
    """An address from text."""
    return Address.parse(text, "test")


def service(name: str, vip: str = "192.0.2.1", port: int = 80, **more: object) -> VirtualService:
    """services/NAME over TCP with the smallest ring."""
    values: dict[str, object] = {"protocol": Protocol.TCP, "ring_size": 1021, **more}
    return VirtualService(f"services/{name}", address(vip), port, **values)  # type: ignore[arg-type]


def backend(service_name: str, name: str, at: str, port: int = 8080, **more: object) -> Backend:
    """services/SERVICE/backends/NAME."""
    return Backend(f"services/{service_name}/backends/{name}", address(at), port, **more)  # type: ignore[arg-type]


def config(**more: object) -> DatapathConfig:
    """Small sizes and one SNAT address."""
    values: dict[str, object] = {"snat": (address(SNAT),), "sizes": small_sizes(), **more}
    return DatapathConfig(**values)  # type: ignore[arg-type]


def small_sizes(**more: int) -> Sizes:
    """Room for a few of everything."""
    small = {"services": 8, "backends": 32, "addresses": 16, "port_ranges": 8, "flows": 64}
    rings = {"rings_1021": 10, "rings_4093": 10, "rings_16381": 12, "rings_65537": 8}
    return Sizes(**{**small, **rings, **more})


def hop(last_byte: int = 1, source: Address | None = None) -> NextHop:
    """A next hop whose MAC ends in `last_byte`, and what the kernel would send from."""
    return NextHop("eth0", 2, b"\x02\0\0\0\0\xfe", bytes([2, 0, 0, 0, 0, last_byte]), None, 1500, source)
