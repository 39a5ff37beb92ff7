"""agent.toml: what it means, and how it says what is wrong."""

from pathlib import Path

import pytest

from l4lb_agent.api.doors import Doors, TlsDoor, UnixDoor
from l4lb_agent.api.roles import Role
from l4lb_agent.api.tracing import TracingConfig
from l4lb_agent.config import Config, ConfigError, load, parse
from l4lb_agent.control.monitor import Interface
from l4lb_agent.control.recorder.recorder import RecorderConfig
from l4lb_agent.metrics.door import MetricsDoor
from l4lb_agent.model.config import DatapathConfig, Echo, Timeouts
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.system.probing.pair import Numbers
from tests.fakes.values import address

TLS = '[tls]\nlisten = "192.0.2.1:7443"\ncert = "/c"\nkey = "/k"\nclient_ca = "/ca"\n'
MINIMAL = '[[interface]]\nname = "eth0"\n'
ROOT = Path(__file__).parents[2]


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value.errors


def test_an_interface_is_all_that_must_be_said() -> None:
    assert parse(MINIMAL) == Config(interfaces=(Interface("eth0", "auto"),))


def test_every_setting_is_read() -> None:
    text = """
    [agent]
    pin_dir = "/p"
    state_dir = "/s"
    runtime_dir = "/r"
    cache_dir = "/c"
    log_level = "debug"
    [[interface]]
    name = "eth0"
    mode = "native"
    [[interface]]
    name = "eth1"
    mode = "generic"
    [datapath]
    transmit = "redirect"
    snat = ["192.0.2.10", "2001:db8::10"]
    port_range = [2000, 3000]
    rst_rate = 1
    rst_burst = 2
    echo = "never"
    icmp_rate = 3
    icmp_burst = 4
    outer_source = ["192.0.2.1"]
    spread_v4 = "10.0.0.0/8"
    spread_v6 = "fd00::/96"
    [datapath.timeouts]
    syn = 1
    answered = 2
    closing = 3
    udp = 4
    quarantine_long = 5
    quarantine_short = 6
    tracked_syn = 7
    tracked_fin = 8
    tracked_rst = 9
    [sizes]
    services = 10
    backends = 11
    addresses = 12
    port_ranges = 120
    affinities = 1700
    flows = 130
    tracked_flows = 1300
    prefixes = 1301
    rings_1021 = 14
    rings_4093 = 15
    rings_16381 = 16
    rings_65537 = 17
    [metrics]
    listen = "[::1]:9476"
    backends = false
    [recorder]
    enabled = false
    dumps = 3
    [health]
    probe_mark = 7
    probe_table = 77
    probe_priority = 777
    [tracing]
    endpoint = "https://[2001:db8::5]:4317"
    ratio = 0.25
    [api]
    mode = "0600"
    [api.groups]
    admin = "a"
    operator = "o"
    viewer = "v"
    [tls]
    listen = "[2001:db8::1]:7443"
    cert = "/t/c"
    key = "/t/k"
    client_ca = "/t/ca"
    trust_domain = "example.org"
    max_connections = 1
    max_connection_age = 2
    handshake_timeout = 3
    """
    snat = (address("192.0.2.10"), address("2001:db8::10"))
    spread = (bytes([10, 0, 0, 0]), 8), bytes.fromhex("fd00") + bytes(14)
    datapath = DatapathConfig(
        snat, 2000, 3000, True, 1, 2, Echo.NEVER, 3, 4, (address("192.0.2.1"),), *spread, Timeouts(1, 2, 3, 4, 5, 6, 7, 8, 9),
        Sizes(10, 11, 12, 120, 130, 1300, 1301, 1700, 14, 15, 16, 17),
    )  # fmt: skip
    interfaces = (Interface("eth0", "native"), Interface("eth1", "generic"))
    sockets = (
        UnixDoor(Path("/r/admin.sock"), Role.ADMIN, 0o600, "a"),
        UnixDoor(Path("/r/operator.sock"), Role.OPERATOR, 0o600, "o"),
        UnixDoor(Path("/r/viewer.sock"), Role.VIEWER, 0o600, "v"),
    )
    tls = TlsDoor("[2001:db8::1]:7443", Path("/t/c"), Path("/t/k"), Path("/t/ca"), "example.org", 1, 2, 3)
    assert parse(text) == Config(
        Path("/p"), Path("/s"), Path("/r"), Path("/c"), "debug", interfaces, datapath, Doors(sockets, tls),
        MetricsDoor("[::1]:9476", False),
        TracingConfig("https://[2001:db8::5]:4317", 0.25), RecorderConfig(False, 3), Numbers(7, 77, 777),
    )  # fmt: skip


def test_the_sockets_follow_the_runtime_folder() -> None:
    found = parse(MINIMAL + '[agent]\nruntime_dir = "/r"').doors.sockets
    assert [(str(door.path), door.role, door.mode, door.group) for door in found] == [
        ("/r/admin.sock", Role.ADMIN, 0o660, "l4lb-admin"),
        ("/r/operator.sock", Role.OPERATOR, 0o660, "l4lb-operator"),
        ("/r/viewer.sock", Role.VIEWER, 0o660, "l4lb-viewer"),
    ]


def test_there_is_no_tcp_port_without_tls() -> None:
    assert parse(MINIMAL).doors.tls is None
    assert [line.split(":")[0] for line in errors(MINIMAL + "[tls]\n")] == ["tls.listen", "tls.cert", "tls.key", "tls.client_ca"]


def test_metrics_are_off_unless_they_have_a_place_on_this_host() -> None:
    assert parse(MINIMAL).metrics == MetricsDoor("", True)
    for listen in ("", "127.0.0.1:9476", "127.1.2.3:1", "[::1]:65535", "/run/l4lb/metrics.sock"):
        assert parse(MINIMAL + f'[metrics]\nlisten = "{listen}"').metrics.listen == listen
    assert "put a proxy before it" in errors(MINIMAL + '[metrics]\nlisten = "192.0.2.1:9476"')[0]


def test_names_in_tls_are_credentials_of_the_unit() -> None:
    text = TLS.replace('"/c"', '"agent.pem"')
    found = parse(MINIMAL + text, {"CREDENTIALS_DIRECTORY": "/run/credentials/l4lb-agent.service"}).doors.tls
    assert found == TlsDoor(
        "192.0.2.1:7443", Path("/run/credentials/l4lb-agent.service/agent.pem"), Path("/k"), Path("/ca")
    )  # fmt: skip
    elsewhere = parse(MINIMAL + text, {}).doors.tls
    assert elsewhere
    assert elsewhere.cert == Path("agent.pem"), "`l4lb-agent detach` needs no credentials"
    with pytest.raises(ConfigError, match="absolute path, or the name of a credential"):
        parse(MINIMAL + TLS.replace('"/c"', '"../agent.pem"'), {"CREDENTIALS_DIRECTORY": "/run/credentials"})


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("agent.pin_dir", '[agent]\npin_dir = "relative"'),
        ("metrics.listen", '[metrics]\nlisten = "192.0.2.1:9476"'),
        ("metrics.listen", '[metrics]\nlisten = "0.0.0.0:9476"'),
        ("metrics.listen", '[metrics]\nlisten = "localhost:9476"'),
        ("metrics.listen", '[metrics]\nlisten = "127.0.0.1"'),
        ("metrics.listen", '[metrics]\nlisten = "run/metrics.sock"'),
        ("tracing.endpoint", '[tracing]\nendpoint = "127.0.0.1:4317"'),
        ("tracing.endpoint", '[tracing]\nendpoint = "http://127.0.0.1"'),
        ("tracing.endpoint", "[tracing]\nendpoint = 1"),
        ("tracing.ratio", "[tracing]\nratio = 1.5"),
        ("tracing.ratio", "[tracing]\nratio = true"),
        ("metrics.backends", "[metrics]\nbackends = 1"),
        ("health.probe_mark", "[health]\nprobe_mark = 0"),
        ("health.probe_table", "[health]\nprobe_table = 254"),
        ("health.probe_priority", "[health]\nprobe_priority = 32766"),
        ("health.interval", "[health]\ninterval = 1"),
        ("recorder.enabled", '[recorder]\nenabled = "no"'),
        ("recorder.dumps", "[recorder]\ndumps = 0"),
        ("recorder.folder", '[recorder]\nfolder = "/tmp"'),
        ("agent.pin_dirr", '[agent]\npin_dirr = "/p"'),
        ("agent.log_level", '[agent]\nlog_level = "loud"'),
        ("agent", "agent = 1"),
        ("interfaces", "interfaces = []"),
        ("interface[1].mode", '[[interface]]\nname = "eth1"\nmode = "fast"'),
        ("interface[1].name", '[[interface]]\nmode = "auto"'),
        ("interface[1].name", '[[interface]]\nname = "a-name-too-long-for-linux"'),
        ("interface[1].name", '[[interface]]\nname = "../eth"'),
        ("interface[1].name", '[[interface]]\nname = "eth0"'),
        ("interface[1].speed", '[[interface]]\nname = "eth1"\nspeed = 1'),
        ("datapath.snat", '[datapath]\nsnat = ["192.0.2.300"]'),
        ("datapath.snat", '[datapath]\nsnat = ["224.0.0.1"]'),
        ("datapath.snat", '[datapath]\nsnat = ["192.0.2.1", "192.0.2.1"]'),
        ("datapath.snat", '[datapath]\nsnat = "192.0.2.1"'),
        ("datapath.port_range", "[datapath]\nport_range = [2000]"),
        ("datapath.port_range", "[datapath]\nport_range = [3000, 2000]"),
        ("datapath.port_range", "[datapath]\nport_range = [0, 2000]"),
        ("datapath.transmit", '[datapath]\ntransmit = "pigeon"'),
        ("datapath.rst_rate", "[datapath]\nrst_rate = -1"),
        ("datapath.echo", '[datapath]\necho = "sometimes"'),
        ("datapath.echo", "[datapath]\necho = true"),
        ("datapath.icmp_rate", "[datapath]\nicmp_rate = -1"),
        ("datapath.spread_v4", '[datapath]\nspread_v4 = "224.0.0.0/8"'),
        ("datapath.spread_v4", '[datapath]\nspread_v4 = "127.0.0.0/16"'),
        ("datapath.spread_v4", '[datapath]\nspread_v4 = "0.0.0.0/8"'),
        ("datapath.spread_v6", '[datapath]\nspread_v6 = "ff02::/96"'),
        ("datapath.spread_v6", '[datapath]\nspread_v6 = "fe80::/96"'),
        ("datapath.spread_v6", '[datapath]\nspread_v6 = "::/96"'),
        ("datapath.snat", '[datapath]\nsnat = ["::192.0.2.1"]'),
        ("datapath.icmp_burst", '[datapath]\nicmp_burst = "many"'),
        ("datapath.timeouts.syn", "[datapath.timeouts]\nsyn = 0"),
        ("datapath.timeouts.sin", "[datapath.timeouts]\nsin = 1"),
        ("sizes.services", "[sizes]\nservices = 70000"),
        ("sizes.backends", "[sizes]\nbackends = 32769"),
        ("sizes.flows", '[sizes]\nflows = "many"'),
        ("sizes.flows", "[sizes]\nflows = true"),
        ("tls.listen", TLS.replace("192.0.2.1:7443", "192.0.2.1")),
        ("tls.listen", TLS.replace("192.0.2.1:7443", "192.0.2.1:0")),
        ("tls.listen", TLS.replace("192.0.2.1:7443", "192.0.2.1:65536")),
        ("tls.listen", TLS.replace("192.0.2.1:7443", "localhost:7443")),
        ("tls.listen", TLS.replace("192.0.2.1:7443", "::1:7443")),
        ("tls.listen", TLS.replace("192.0.2.1:7443", "unix:/run/l4lb/tls.sock")),
        ("tls.listen", TLS.replace('"192.0.2.1:7443"', "7443")),
        ("tls.cert", TLS.replace('"/c"', '""')),
        ("tls.trust_domain", TLS + 'trust_domain = "spiffe://l4lb"'),
        ("tls.max_connections", TLS + "max_connections = 0"),
        ("tls.insecure", TLS + "insecure = true"),
        ("api.socket", '[api]\nsocket = "/a/sock"'),
        ("api.listen", '[api]\nlisten = "0.0.0.0:7443"'),
        ("api.groups.admin", '[api.groups]\nadmin = ""'),
        ("api.groups.root", '[api.groups]\nroot = "root"'),
        ("api.mode", "[api]\nmode = 432"),
        ("api.mode", '[api]\nmode = "0666"'),
        ("api.port", "[api]\nport = 1"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(field: str, text: str) -> None:
    top = text.startswith(("agent =", "interfaces ="))
    found = errors(f"{text}\n{MINIMAL}" if top else f"{MINIMAL}{text}")
    assert [line.split(":")[0] for line in found] == [field]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    found = errors('[agent]\npin_dir = 1\n[api]\nmode = "x"\n')
    assert [line.split(":")[0] for line in found] == ["agent.pin_dir", "interface", "api.mode"]


def test_a_file_that_is_missing_or_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError):
        load(bad)
    assert "TOML" in errors("=")[0]


def test_the_example_shows_the_defaults() -> None:
    example = (ROOT / "systemd/agent.toml.example").read_text()
    shown = parse(example)
    lines = [line[1:] if line.startswith("#") and " = " in line else line for line in example.splitlines()]
    uncommented = parse("\n".join(lines))
    assert shown == uncommented
    assert shown.interfaces == (Interface("eth0", "auto"),)
