"""What the doctor sees of a real kernel: each defect is made in a network namespace, and found."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from l4lb_agent import doctor
from l4lb_agent.api.doors import Doors, TlsDoor
from l4lb_agent.config import Config
from l4lb_agent.control.monitor import Interface
from l4lb_agent.dataplane import pins, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.model import records
from l4lb_agent.model.backend import Backend
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.doctor import machine
from l4lb_agent.model.doctor.examine import examine
from l4lb_agent.model.doctor.facts import Facts, Scope
from l4lb_agent.model.doctor.finding import Finding, Id, Severity
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.model.service import Mode, Protocol, VirtualService
from l4lb_agent.survey import MOST_ASKED, Survey
from l4lb_agent.system import limits
from l4lb_agent.system.disk import JournalFile
from l4lb_agent.system.network import KernelNetwork
from lab.certificates import Authority, Certificate
from tests.fakes.values import SECRETS, address
from tests.kernel.conftest import Pair, run

BPF_DIR = Path(doctor.__file__).parent / "bpf"
VIP = "192.0.2.10"


class Host:
    """The doctor in the namespace `pair.lb`, configured for its eth0."""

    def __init__(self, pair: Pair, bpffs: Path, folder: Path) -> None:
        self.pair, self.bpffs = pair, bpffs
        self.settings = Config(
            pin_dir=bpffs / "pins", state_dir=folder, cache_dir=folder, interfaces=(Interface("eth0"),),
            datapath=DatapathConfig(snat=(address("192.0.2.200"),)),
        )  # fmt: skip
        self.desired = Desired()
        self.running = False

    def asked(self, backend: str = "192.0.2.2", mode: Mode = Mode.NAT, vip: str = VIP) -> None:
        """One service with one backend."""
        service = VirtualService("services/web", address(vip), 80, Protocol.TCP, mode=mode)
        one = Backend("services/web/backends/a", address(backend), 80)
        self.desired = Desired(1, {service.name: service}, {one.name: one})

    def facts(self, scope: Scope) -> Facts:
        """What is seen."""

        async def look() -> Facts:
            network = KernelNetwork()
            try:
                return await Survey(self.settings, self.settings.pin_dir, BPF_DIR, network, lambda: 0).facts(scope)
            finally:
                network.close()

        return asyncio.run(look())

    def found(self) -> dict[str, Finding]:
        """What is found, by id."""
        modes = {one.name: one.mode for one in self.settings.interfaces}
        scope = Scope(modes, self.settings.datapath, self.desired, running=self.running)
        return {finding.id: finding for finding in examine(scope, self.facts(scope))}


def fix(host: Host, id: Id) -> None:
    """As `doctor --fix` does with that finding: it asks, a no changes nothing, a yes cures it."""
    asked: list[str] = []

    def answer(yes: bool) -> Callable[[str], bool]:
        return lambda question: (asked.append(question), yes)[1]

    finding = host.found()[id]
    assert finding.safe
    assert not doctor.cure([finding], yes=False, ask=answer(False))
    assert id in host.found()
    assert doctor.cure([finding], yes=False, ask=answer(True))
    assert id not in host.found()
    assert asked == 2 * [f"{id} {finding.subject}: run `{command}`?" for command in finding.cure]


@pytest.fixture
def host(inside: Pair, bpffs: Path, tmp_path: Path) -> Host:
    """A host without defects, but for what every veth has, and a kernel whose clock nobody sets."""
    for family in ("ipv4", "ipv6"):
        Path(f"/proc/sys/net/{family}/conf/eth0/forwarding").write_text("1")
    made = Host(inside, bpffs, tmp_path)
    run("ip", "netns", "exec", inside.peer, "ethtool", "-K", "eth0", "tx", "off")
    ethtool("-L", "eth0", "rx", str(min(2, os.cpu_count() or 1)), "tx", str(min(2, os.cpu_count() or 1)))
    return made


def ethtool(*arguments: str) -> None:
    run("ethtool", *arguments)


def test_a_host_without_defects_has_no_errors_and_says_how_its_interface_is(host: Host) -> None:
    host.asked()
    found = host.found()
    assert {id: finding for id, finding in found.items() if finding.severity is Severity.ERROR} == {}
    assert "its driver takes native XDP" in found[Id.XDP_MODE].evidence
    assert set(found) <= {Id.XDP_MODE, Id.CLOCK_UNSYNCHRONISED, Id.QUEUES_FEW, Id.KERNEL_UNTRIED}


def test_a_name_without_an_interface(host: Host) -> None:
    host.settings = replace(host.settings, interfaces=(Interface("eth9"),))
    assert host.found()[Id.INTERFACE_MISSING].subject == "eth9"


def test_an_interface_whose_other_end_is_down(host: Host) -> None:
    host.pair.ip(host.pair.peer, "link", "set", "eth0", "down")
    assert host.found()[Id.INTERFACE_DOWN].severity is Severity.ERROR


def ifindex(name: str) -> int:
    return socket.if_nametoindex(name)


def test_a_program_of_somebody_else_and_one_of_ours(host: Host, passing: Fd) -> None:
    with Fd(syscall.link_create(passing.fileno(), ifindex("eth0"), syscall.XDP_FLAGS_NATIVE)) as link:
        foreign = host.found()[Id.XDP_FOREIGN]
        assert f"XDP program {syscall.prog_info(passing.fileno()).id} of somebody else" in foreign.evidence
        (host.settings.pin_dir / "links").mkdir(parents=True)
        pins.publish(host.settings.pin_dir / "links/eth0", link)
        found = host.found()
        assert Id.XDP_FOREIGN not in found
        assert "in native mode" in found[Id.XDP_MODE].evidence


def test_a_program_in_generic_mode_and_merged_packets_before_it(host: Host, passing: Fd) -> None:
    with Fd(syscall.link_create(passing.fileno(), ifindex("eth0"), syscall.XDP_FLAGS_GENERIC)) as link:
        (host.settings.pin_dir / "links").mkdir(parents=True)
        pins.publish(host.settings.pin_dir / "links/eth0", link)
        found = host.found()
        assert found[Id.XDP_GENERIC].severity is Severity.WARNING
        assert Id.GRO_ON not in found
        ethtool("-K", "eth0", "gro", "on")
        fix(host, Id.GRO_ON)


def test_an_interface_that_takes_no_native_program(host: Host) -> None:
    """A bridge: its driver has no XDP of its own."""
    host.pair.ip(host.pair.lb, "link", "add", "br0", "type", "bridge")
    host.pair.ip(host.pair.lb, "link", "set", "br0", "up")
    device = host.facts(Scope({"br0": "auto"})).devices["br0"]
    if device.native is None:  # 6.1 does not tell
        assert "does not tell" in host_of(host, "br0", "auto")[Id.XDP_MODE].evidence
        return
    assert host_of(host, "br0", "auto")[Id.XDP_GENERIC].severity is Severity.WARNING
    assert host_of(host, "br0", "native")[Id.XDP_REFUSED].severity is Severity.ERROR


def host_of(host: Host, interface: str, mode: str) -> dict[str, Finding]:
    host.settings = replace(host.settings, interfaces=(Interface(interface, mode),))
    return host.found()


def test_a_frame_too_large_for_native_mode(host: Host, passing: Fd) -> None:
    host.pair.ip(host.pair.lb, "link", "set", "eth0", "mtu", "9000")
    host.pair.ip(host.pair.peer, "link", "set", "eth0", "mtu", "9000")
    with pytest.raises(OSError):
        syscall.link_create(passing.fileno(), ifindex("eth0"), syscall.XDP_FLAGS_NATIVE)
    [command] = host.found()[Id.MTU_TOO_LARGE].cure
    run(*command.split())
    run("ip", "-n", host.pair.peer, *command.split()[1:])
    assert Id.MTU_TOO_LARGE not in host.found()
    Fd(syscall.link_create(passing.fileno(), ifindex("eth0"), syscall.XDP_FLAGS_NATIVE)).close()


def test_unfinished_checksums_where_the_other_end_is_in_a_named_namespace(host: Host) -> None:
    run("ip", "netns", "exec", host.pair.peer, "ethtool", "-K", "eth0", "tx", "on")
    [command] = host.found()[Id.CHECKSUM_UNFINISHED].cure
    assert command == f"ip netns exec {host.pair.peer} ethtool -K eth0 tx off"
    run(*command.split())
    assert Id.CHECKSUM_UNFINISHED not in host.found()


def test_unfinished_checksums_where_the_other_end_is_here_too(host: Host) -> None:
    host.pair.ip(host.pair.lb, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    for name in ("v0", "v1"):
        host.pair.ip(host.pair.lb, "link", "set", name, "up")
    host.settings = replace(host.settings, interfaces=(Interface("v0"),))
    unfinished = host.found()[Id.CHECKSUM_UNFINISHED]
    assert unfinished.cure == ("ethtool -K v1 tx off",)
    run(*unfinished.cure[0].split())
    found = host.found()
    assert Id.CHECKSUM_UNFINISHED not in found
    assert Id.CHECKSUM_UNSEEN not in found


def test_fewer_queues_than_cpus(host: Host) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("needs two CPUs")
    ethtool("-L", "eth0", "rx", "1", "tx", "1")
    few = host.found()[Id.QUEUES_FEW]
    assert few.severity is Severity.WARNING
    run(*few.cure[0].split())
    assert host.facts(Scope({"eth0": "auto"})).devices["eth0"].queues == 2


def test_a_host_that_does_not_forward(host: Host) -> None:
    Path("/proc/sys/net/ipv4/conf/eth0/forwarding").write_text("0")
    assert "does not forward IPv4" in host.found()[Id.FORWARDING_OFF].evidence


@pytest.mark.parametrize("which", ["all", "eth0"])
def test_a_strict_reverse_path_filter_with_a_default_route_elsewhere(host: Host, which: str) -> None:
    host.pair.ip(host.pair.lb, "link", "add", "other", "type", "veth", "peer", "name", "end")
    for name in ("other", "end"):
        host.pair.ip(host.pair.lb, "link", "set", name, "up")
    Path(f"/proc/sys/net/ipv4/conf/{which}/rp_filter").write_text("1")
    assert Id.RP_FILTER_STRICT not in host.found()
    host.pair.ip(host.pair.lb, "route", "add", "default", "dev", "other")
    [command] = host.found()[Id.RP_FILTER_STRICT].cure
    run(*command.split())
    assert Id.RP_FILTER_STRICT not in host.found()


@pytest.mark.parametrize(("backend", "vip", "state"), [("192.0.2.77", VIP, "incomplete"), ("2001:db8::77", "2001:db8::10", "incomplete")])
def test_a_backend_that_does_not_answer(host: Host, backend: str, vip: str, state: str) -> None:
    host.asked(backend, vip=vip)
    silent = host.found()[Id.BACKEND_UNRESOLVED]
    assert silent.severity is Severity.ERROR
    assert state in silent.evidence or "failed" in silent.evidence


def test_a_backend_without_route_and_one_that_is_this_host(host: Host) -> None:
    for text in ("203.0.113.1", "192.0.2.1"):
        host.asked(text)
        assert text in host.found()[Id.BACKEND_NO_ROUTE].evidence


def test_a_dsr_backend_behind_a_router(host: Host) -> None:
    host.pair.ip(host.pair.lb, "route", "add", "203.0.113.0/24", "via", "192.0.2.2")
    host.asked("203.0.113.1", Mode.DSR)
    assert "behind the router 192.0.2.2" in host.found()[Id.BACKEND_BEHIND_ROUTER].evidence
    host.asked("203.0.113.1", Mode.NAT)
    assert Id.BACKEND_BEHIND_ROUTER not in host.found()


def test_a_backend_over_an_interface_without_the_program(host: Host) -> None:
    host.pair.ip(host.pair.lb, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    for name in ("v0", "v1"):
        host.pair.ip(host.pair.lb, "link", "set", name, "up")
    host.pair.ip(host.pair.lb, "address", "add", "198.51.100.1/24", "dev", "v0")
    host.pair.ip(host.pair.lb, "neigh", "add", "198.51.100.2", "lladdr", "02:00:00:00:00:22", "dev", "v0")
    host.asked("198.51.100.2")
    unseen = host.found()[Id.ANSWERS_UNSEEN]
    assert (unseen.severity, unseen.subject) == (Severity.WARNING, "services/web/backends/a")
    assert "over v0" in unseen.evidence
    host.asked()
    assert Id.ANSWERS_UNSEEN not in host.found()


def test_no_room_for_an_outer_header_on_the_way_out(host: Host) -> None:
    host.asked(mode=Mode.IPIP)
    command = host.found()[Id.MTU_SHORT].cure[0]
    assert command == "ip link set dev eth0 mtu 1520"
    run(*command.split())
    assert Id.MTU_SHORT not in host.found()
    host.pair.ip(host.pair.lb, "route", "add", "203.0.113.0/24", "via", "192.0.2.2", "mtu", "1300")
    host.asked("203.0.113.1", Mode.NAT)
    assert "of a client's 1500 bytes only 1300 do" in host.found()[Id.MTU_SHORT].evidence


@pytest.mark.parametrize(("vip", "length"), [("192.0.2.10", 32), ("2001:db8::10", 128)])
def test_somebody_else_has_the_vip(host: Host, vip: str, length: int) -> None:
    host.asked("192.0.2.2" if length == 32 else "2001:db8::2", vip=vip)
    assert Id.VIP_DUPLICATE not in host.found()
    host.pair.ip(host.pair.peer, "address", "add", f"{vip}/{length}", "dev", "eth0", *(["nodad"] if length == 128 else []))
    twice = host.found()[Id.VIP_DUPLICATE]
    mac = host.pair.ip(host.pair.peer, "link", "show", "eth0").split("link/ether ")[1].split()[0]
    assert mac in twice.evidence
    assert host.pair.ip(host.pair.lb, "neigh", "show", vip) == "", "what was asked for is forgotten"


def test_somebody_else_has_a_source_address(host: Host) -> None:
    host.pair.ip(host.pair.peer, "address", "add", "192.0.2.200/32", "dev", "eth0")
    assert "backends' replies reach it" in host.found()[Id.VIP_DUPLICATE].evidence


def test_thousands_of_silent_backends_do_not_make_anybody_wait(host: Host) -> None:
    host.asked()
    many = [Backend(f"services/web/backends/{n}", address(f"192.0.{2 + n // 250}.{n % 250 + 3}"), 80) for n in range(2000)]
    host.pair.ip(host.pair.lb, "address", "add", "192.0.0.1/16", "dev", "eth0")
    host.desired = replace(host.desired, backends={backend.name: backend for backend in many})
    began = time.monotonic()
    found = host.found()
    assert time.monotonic() - began < 8
    assert found[Id.BACKEND_UNRESOLVED].severity is Severity.ERROR
    assert f"{MOST_ASKED} of 2000 are asked" in found[Id.NOT_EXAMINED].evidence


def test_a_quiet_backend_with_the_vip_is_no_duplicate(host: Host) -> None:
    """As docs/backends.md prepares it, and without arp_ignore."""
    host.asked(mode=Mode.DSR)
    host.pair.ip(host.pair.peer, "address", "add", f"{VIP}/32", "dev", "lo")
    assert Id.VIP_DUPLICATE in host.found()
    run("ip", "netns", "exec", host.pair.peer, "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2")
    assert Id.VIP_DUPLICATE not in host.found()


def test_a_vip_that_is_an_address_of_this_host(host: Host) -> None:
    host.asked()
    host.pair.ip(host.pair.lb, "address", "add", f"{VIP}/32", "dev", "lo")
    assert VIP in host.found()[Id.VIP_IS_LOCAL].evidence


def test_asking_leaves_managed_neighbours_managed(host: Host) -> None:
    host.pair.ip(host.pair.lb, "neigh", "add", "192.0.2.77", "dev", "eth0", "managed")
    host.asked("192.0.2.77")
    assert Id.BACKEND_UNRESOLVED in host.found()
    assert "managed" in host.pair.ip(host.pair.lb, "neigh", "show", "192.0.2.77")


def test_a_pin_directory_that_is_not_on_a_bpffs_and_mounting_one_cures_it(host: Host, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    host.settings = replace(host.settings, pin_dir=tmp_path / "empty/pins")
    try:
        fix(host, Id.BPFFS_MISSING)
    finally:
        run("umount", str(tmp_path / "empty"))
    (tmp_path / "empty/file").touch()
    assert host.found()[Id.BPFFS_MISSING].cure == (), "nothing is mounted over somebody's files"


def test_nothing_compiled_and_nothing_to_compile_with(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that does not see Debian's packages, and an empty cache."""
    assert Id.COMPILER_MISSING not in host.found()
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if "dist-packages" not in folder])
    assert host.found()[Id.COMPILER_MISSING].cure == ("apt install python3-bpfcc",)


def test_maps_that_are_larger_than_this_host(host: Host) -> None:
    largest = Sizes(65535, 32768, 65535, 1 << 26, 1 << 26, 65535, 65535, 65535, 65535)
    host.settings = replace(host.settings, datapath=replace(host.settings.datapath, sizes=largest))
    needed, free = machine.map_bytes(host.settings.datapath, limits.cpus()), limits.memory().free
    assert free is not None
    assert (Id.MEMORY_SHORT in host.found()) is (needed > free * machine.TIGHT), "a machine with 40 GB has room for them"


def test_the_journal_tells_of_services_and_of_a_clock_that_was_ahead(host: Host) -> None:
    host.asked()
    service = replace(host.desired.services["services/web"], updated=4e9)
    journal = JournalFile(host.settings.state_dir)
    journal.snapshot(records.snapshot(replace(host.desired, services={service.name: service}), SECRETS))
    journal.close()
    found = {finding.id: finding for finding in doctor.look(host.settings, BPF_DIR)}
    assert "2096-10-02" in found[Id.CLOCK_BEHIND].evidence
    (host.settings.state_dir / "journal").unlink()
    (host.settings.state_dir / "journal").mkdir()
    assert any(finding.id == Id.NOT_EXAMINED and finding.subject == "journal" for finding in doctor.look(host.settings, BPF_DIR))


def beside(host: Host, *before: str) -> subprocess.CompletedProcess[str]:
    """`l4lb-agent doctor` for this host, run by the command `before`."""
    code = "import sys; from l4lb_agent.__main__ import main; sys.exit(main(sys.argv[1:]))"
    file = host.settings.state_dir / "agent.toml"
    file.write_text(f'[agent]\npin_dir = "{host.bpffs}/pins"\nstate_dir = "{file.parent}"\n[[interface]]\nname = "eth0"\n')
    command = [*before, sys.executable, "-c", code, "doctor", "--config", str(file)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", timeout=60, check=False)


def test_a_kernel_that_calls_itself_older_than_any_that_was_tried(host: Host) -> None:
    """As each of them answers uname(2) in the personality of Linux 2.6."""
    assert "KERNEL_UNTRIED" not in beside(host).stdout
    lines = beside(host, "setarch", "--uname-2.6").stdout.splitlines()
    assert any(line.startswith("WARNING  KERNEL_UNTRIED  2.6.") for line in lines), lines


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def served(host: Host, authority: Authority, shown: Certificate) -> dict[str, Finding]:
    """What is found when the API is to be served with that certificate."""
    door = TlsDoor("127.0.0.1:7443", shown.cert, shown.key, authority.ca)
    host.settings = replace(host.settings, doors=Doors(tls=door))
    return host.found()


def test_certificates_that_are_good_expire_soon_expired_or_belong_to_another_key(host: Host, authority: Authority) -> None:
    now = datetime.now(UTC)
    assert not any(id.startswith("TLS") for id in served(host, authority, authority.issue("good", ["IP:127.0.0.1"])))
    late = authority.issue("late", ["IP:127.0.0.1"], begins=now - timedelta(days=20), days=21)
    assert served(host, authority, late)[Id.TLS_CERTIFICATE_EXPIRES].subject == str(late.cert)
    assert "expired" in served(host, authority, authority.issue("old", ["IP:127.0.0.1"], days=-1))[Id.TLS_CERTIFICATE_BAD].evidence
    early = authority.issue("early", ["IP:127.0.0.1"], begins=now + timedelta(days=1))
    assert "not yet valid" in served(host, authority, early)[Id.TLS_CERTIFICATE_BAD].evidence
    mixed = Certificate(late.cert, early.key)
    assert Id.TLS_CERTIFICATE_BAD in served(host, authority, mixed)


def test_what_is_refused_is_not_examined_and_said_so(host: Host) -> None:
    """Root without capabilities, as in a plain container."""
    done = beside(host, "setpriv", "--inh-caps=-all", "--bounding-set=-all", "--")
    assert "kernel features could not be looked at" in done.stdout, done.stderr
    assert done.returncode in (5, 6)
