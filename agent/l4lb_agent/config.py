"""agent.toml becomes values that cannot be wrong, or a list of what is wrong, each by the name of its field."""

import dataclasses
import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from l4lb_agent import remote, telemetry
from l4lb_agent.api.doors import Doors
from l4lb_agent.api.tracing import TracingConfig
from l4lb_agent.control.monitor import Interface
from l4lb_agent.control.recorder.recorder import RecorderConfig
from l4lb_agent.metrics.door import MetricsDoor
from l4lb_agent.model import layout
from l4lb_agent.model.address import Address
from l4lb_agent.model.config import DatapathConfig, Echo, Timeouts
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.system.probing.pair import Numbers
from l4lb_agent.table import Table, flag, number, one_of

DEFAULT_PATH = Path("/etc/l4lb/agent.toml")
UNIT_PIN_DIR = Path("/run/l4lb/bpf")  # where the unit, and nobody else, finds HOST_PIN_DIR
HOST_PIN_DIR = Path("/sys/fs/bpf/l4lb")
MODES = ("auto", "native", "generic")
RELOADABLE = (
    "agent.log_level", "datapath.timeouts.", "datapath.rst_rate", "datapath.rst_burst", "datapath.echo", "datapath.icmp_rate",
    "datapath.icmp_burst",
)  # fmt: skip
KERNEL_TABLES = (253, 254, 255)  # default, main, local
LOG_LEVELS = ("debug", "info", "warning", "error")


class ConfigError(Exception):
    """What is wrong with the file: one line for each field, `interface[0].mode: ...`."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


@dataclass(frozen=True)
class Config:
    """All of agent.toml with its defaults."""

    pin_dir: Path = UNIT_PIN_DIR  # on a bpffs
    state_dir: Path = Path("/var/lib/l4lb")
    runtime_dir: Path = Path("/run/l4lb")
    cache_dir: Path = Path("/var/cache/l4lb-agent")
    log_level: str = "info"
    interfaces: tuple[Interface, ...] = ()
    datapath: DatapathConfig = field(default_factory=DatapathConfig)
    doors: Doors = field(default_factory=Doors)
    metrics: MetricsDoor = MetricsDoor()
    tracing: TracingConfig = TracingConfig()
    recorder: RecorderConfig = RecorderConfig()
    health: Numbers = Numbers()

    def pins_here(self, mounted: Callable[[Path], bool] = os.path.ismount) -> Path:
        """pin_dir as this process sees it: outside of the unit its default is not bound to the folder that it stands for."""
        return HOST_PIN_DIR if self.pin_dir == UNIT_PIN_DIR and not mounted(UNIT_PIN_DIR) else self.pin_dir

    def forwarding_settings(self) -> list[str]:
        """Names below /proc/sys, with slashes, of the settings that let the configured interfaces forward."""
        families = [family for family in (4, 6) if self.datapath.snat_of(family)]
        return [f"net/ipv{family}/conf/{one.name}/forwarding" for one in self.interfaces for family in families]

    def needing_restart(self, new: "Config") -> list[str]:
        """Names of the settings in which `new` differs and which a running agent cannot take over."""
        settings = zip(_flat(self).items(), _flat(new).values())
        return [name for (name, before), after in settings if before != after and not name.startswith(RELOADABLE)]


def _flat(config: Config) -> dict[str, object]:
    """Every setting by its name in agent.toml."""
    path = config.datapath
    agent = ("pin_dir", "state_dir", "runtime_dir", "cache_dir", "log_level")
    found: dict[str, object] = {f"agent.{name}": getattr(config, name) for name in agent}
    found |= {"interface": config.interfaces, "datapath.snat": path.snat, "datapath.port_range": (path.port_low, path.port_high)}
    found |= {"datapath.transmit": path.redirect, "datapath.rst_rate": path.rst_rate, "datapath.rst_burst": path.rst_burst}
    more = ("echo", "icmp_rate", "icmp_burst", "outer_source", "spread_v4", "spread_v6")
    found |= {f"datapath.{name}": getattr(path, name) for name in more}
    found |= {f"datapath.timeouts.{name}": value for name, value in dataclasses.asdict(path.timeouts).items()}
    found |= {f"sizes.{name}": value for name, value in dataclasses.asdict(path.sizes).items()}
    found |= {f"metrics.{name}": value for name, value in dataclasses.asdict(config.metrics).items()}
    found |= {f"tracing.{name}": value for name, value in dataclasses.asdict(config.tracing).items()}
    found |= {f"recorder.{name}": value for name, value in dataclasses.asdict(config.recorder).items()}
    found |= {f"health.probe_{name}": value for name, value in dataclasses.asdict(config.health).items()}
    return found | {"api": config.doors.sockets, "tls": config.doors.tls}


def load(path: Path) -> Config:
    """The configuration in the file `path`. Raises ConfigError."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: {error}"]) from error
    return parse(text)


def parse(text: str, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration in `text`. Raises ConfigError with everything that is wrong, not only the first."""
    try:
        top = Table("", tomllib.loads(text), [])
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"not TOML: {error}"]) from error
    agent = top.table("agent")
    default = Config()
    runtime_dir = agent.take("runtime_dir", _folder, default.runtime_dir)
    config = Config(
        pin_dir=agent.take("pin_dir", _folder, default.pin_dir),
        state_dir=agent.take("state_dir", _folder, default.state_dir),
        runtime_dir=runtime_dir,
        cache_dir=agent.take("cache_dir", _folder, default.cache_dir),
        log_level=agent.take("log_level", one_of(LOG_LEVELS), default.log_level),
        interfaces=_interfaces(top),
        datapath=_datapath(top),
        doors=remote.doors(top, runtime_dir, environment),
        metrics=telemetry.metrics(top),
        tracing=telemetry.tracing(top),
        recorder=_recorder(top),
        health=_health(top),
    )
    agent.end()
    top.end()
    if top.errors:
        raise ConfigError(top.errors)
    return config


def _interfaces(top: Table) -> tuple[Interface, ...]:
    found: list[Interface] = []
    for table in top.tables("interface"):
        table.require("name")
        interface = Interface(table.take("name", _interface_name, ""), table.take("mode", one_of(MODES), "auto"))
        table.end()
        if interface.name and interface.name in (other.name for other in found):
            top.errors.append(f"{table.name('name')}: {interface.name} is there already")
        found.append(interface)
    if not found:
        top.errors.append("interface: at least one [[interface]] with a name is needed")
    return tuple(found)


def _recorder(top: Table) -> RecorderConfig:
    table, default = top.table("recorder"), RecorderConfig()
    config = RecorderConfig(table.take("enabled", flag, default.enabled), table.take("dumps", number(1, 1000), default.dumps))
    table.end()
    return config


def _health(top: Table) -> Numbers:
    table, default = top.table("health"), Numbers()
    numbers = Numbers(
        table.take("probe_mark", number(1, 0xFFFFFFFF), default.mark),
        table.take("probe_table", number(1, 0xFFFFFFFF), default.table),
        table.take("probe_priority", number(1, 32765), default.priority),
    )
    if numbers.table in KERNEL_TABLES:
        top.errors.append(f"{table.name('probe_table')}: {numbers.table} is one of the kernel's own tables")
    table.end()
    return numbers


def _datapath(top: Table) -> DatapathConfig:
    table, default = top.table("datapath"), DatapathConfig()
    timeouts, sizes = table.table("timeouts"), top.table("sizes")
    ports = table.take("port_range", _port_range, (default.port_low, default.port_high))
    config = DatapathConfig(
        snat=table.take("snat", _addresses, ()),
        port_low=ports[0],
        port_high=ports[1],
        redirect=table.take("transmit", one_of(("tx", "redirect")), "tx") == "redirect",
        rst_rate=table.take("rst_rate", number(0, 1_000_000), default.rst_rate),
        rst_burst=table.take("rst_burst", number(0, 1_000_000), default.rst_burst),
        echo=Echo(table.take("echo", one_of(tuple(Echo)), str(default.echo))),
        icmp_rate=table.take("icmp_rate", number(0, 1_000_000), default.icmp_rate),
        icmp_burst=table.take("icmp_burst", number(0, 1_000_000), default.icmp_burst),
        outer_source=table.take("outer_source", _one_address_a_family, ()),
        spread_v4=table.take("spread_v4", _spread_v4, default.spread_v4),
        spread_v6=table.take("spread_v6", _spread_v6, default.spread_v6),
        timeouts=_numbers(timeouts, Timeouts(), dict.fromkeys(_names(Timeouts), (1, 65535))),
        sizes=_numbers(
            sizes,
            Sizes(),
            dict.fromkeys(_names(Sizes), (3, 65535))
            | {"backends": (2, 32768), "flows": (64, 1 << 26), "tracked_flows": (256, 1 << 26), "prefixes": (256, 1 << 20)}
            | {"affinities": (128, 1 << 26)},
        ),
    )
    for part in (timeouts, sizes, table):
        part.end()
    return config


Sizing = TypeVar("Sizing", Timeouts, Sizes)


def _names(kind: type[Timeouts] | type[Sizes]) -> list[str]:
    return [one.name for one in dataclasses.fields(kind)]


def _numbers(table: Table, default: Sizing, limits: Mapping[str, tuple[int, int]]) -> Sizing:
    values = {name: table.take(name, number(*limits[name]), getattr(default, name)) for name in limits}
    return dataclasses.replace(default, **values)


def _folder(value: Any) -> Path:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError("must be an absolute path")
    return Path(value)


def _interface_name(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 15 or value in (".", "..") or any(c.isspace() or c in "/:" for c in value):
        raise ValueError("must be the name of a network interface")
    return value


def _port_range(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("must be [first, last]")
    low, high = (number(1, 65535)(port) for port in value)
    if low > high:
        raise ValueError("the first port is greater than the last")
    return low, high


def _one_address_a_family(value: Any) -> tuple[Address, ...]:
    found = _addresses(value)
    if len({address.family for address in found}) < len(found):
        raise ValueError("must be at most one IPv4 and one IPv6 address")
    return found


def _spread_v4(value: Any) -> tuple[bytes, int]:
    try:
        network = ipaddress.IPv4Network(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"must be an IPv4 prefix like 172.16.0.0/16: {error}") from None
    if not 8 <= network.prefixlen <= 28:
        raise ValueError("must be a prefix of 8 to 28 bits")
    _sendable(network)
    return network.network_address.packed, network.prefixlen


def _spread_v6(value: Any) -> bytes:
    try:
        network = ipaddress.IPv6Network(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"must be an IPv6 prefix like 100::/96: {error}") from None
    if network.prefixlen != 96:
        raise ValueError("must be a prefix of 96 bits: the other 32 are spread")
    _sendable(network)
    return network.network_address.packed


def _sendable(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    """Raises InvalidArgument unless packets can come from addresses of the prefix."""
    Address.parse(str(network.network_address + 1), f"addresses of {network}")


def _addresses(value: Any) -> tuple[Address, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be an array of addresses")
    found: list[Address] = []
    for i, text in enumerate(value):
        address = Address.parse(text, f"[{i}]")
        if address in found:
            raise ValueError(f"{address} is there twice")
        found.append(address)
    for family in (4, 6):
        if sum(address.family == family for address in found) > layout.SNAT_V6_BASE:
            raise ValueError(f"more than {layout.SNAT_V6_BASE} IPv{family} addresses")
    return tuple(found)
