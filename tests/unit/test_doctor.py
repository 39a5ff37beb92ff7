"""The doctor's judgement: facts in, findings out. Each finding that there is comes from some facts here, and not from sound ones."""

from dataclasses import replace
from pathlib import Path

import click
import pytest

from l4lb.cli.main import cli
from l4lb_agent.control.doctor import SHARED_SECONDS, Doctor
from l4lb_agent.control.health.checker import Looked
from l4lb_agent.control.host import Host
from l4lb_agent.control.monitor import Interface, Monitor
from l4lb_agent.control.ports import Doors
from l4lb_agent.control.surroundings import Surroundings
from l4lb_agent.doctor import cure
from l4lb_agent.model.address import Address
from l4lb_agent.model.backend import AdminState, Backend
from l4lb_agent.model.config import DatapathConfig
from l4lb_agent.model.desired import Desired
from l4lb_agent.model.doctor import drops, machine
from l4lb_agent.model.doctor.examine import MOST, examine, with_warnings
from l4lb_agent.model.doctor.facts import Certificate, Claim, Clock, Device, Down, Facts, Kernel, Memory, Peer, Pins, Program, Scope, Way
from l4lb_agent.model.doctor.finding import Finding, Id, Severity, in_order, worst
from l4lb_agent.model.health.check import HealthCheck, Kind, OnAllDown, ProbeTarget
from l4lb_agent.model.health.outcome import Outcome, Why
from l4lb_agent.model.health.state import Health, Probed, State
from l4lb_agent.model.mapspec import Sizes
from l4lb_agent.model.observed import Answers, Counters
from l4lb_agent.model.reasons import Reason, Verdict
from l4lb_agent.model.service import Mode, MssClamp, OuterSource, Protocol, VirtualService
from tests.fakes.datapath import FakeDatapath
from tests.fakes.values import address, config, hop
from tests.fakes.world import FakeClock, FakeExaminer, FakeJournal, FakeNetwork, FakeProber

VIP, HERE, THERE, ROUTER = (address(text) for text in ("192.0.2.10", "192.0.2.1", "192.0.2.21", "192.0.2.254"))
MAC = bytes.fromhex("020000000021")
NOW = 1_000_000.0
OURS = Program(7, "native", ours=True)
ETH0 = Device("eth0", 2, native=True, program=OURS, queues=4, queues_most=4)
WAY = Way("eth0", None, 1500, "reachable", usable=True)
SOUND = Facts(
    {"eth0": ETH0}, macs=frozenset({bytes(6)}), ways={THERE: WAY}, kernel=Kernel("6.1.0-40-amd64", jit=True, cpus=4), clock=Clock(NOW, True)
)


def desired(mode: Mode = Mode.NAT, vip: Address = VIP, admin: AdminState = AdminState.ENABLED, updated: float = NOW) -> Desired:
    service = VirtualService("services/web", vip, 80, Protocol.TCP, mode=mode, updated=updated)
    backend = Backend("services/web/backends/a", THERE, 80, admin=admin, updated=updated)
    return Desired(1, {service.name: service}, {backend.name: backend})


def scope(mode: str = "auto", asked: Desired | None = None, *, running: bool = True, snat: tuple[Address, ...] = (HERE,)) -> Scope:
    why = {"eth0": "the driver says no"} if running else {}
    return Scope({"eth0": mode}, DatapathConfig(snat=snat), asked if asked is not None else desired(), why, running)


def with_device(**changes: object) -> Facts:
    return replace(SOUND, devices={"eth0": replace(ETH0, **changes)})  # type: ignore[arg-type]


def with_way(**changes: object) -> Facts:
    return replace(SOUND, ways={THERE: replace(WAY, **changes)})  # type: ignore[arg-type]


def narrow(mtu: int) -> Facts:
    """The way to the backend leaves by a second interface."""
    devices = {"eth0": ETH0, "eth1": replace(ETH0, name="eth1", mtu=mtu)}
    return replace(SOUND, devices=devices, ways={THERE: replace(WAY, interface="eth1", mtu=mtu)})


def answering(*counts: int) -> Facts:
    """The backend's records, live, unanswered and refused flows."""
    return replace(SOUND, answers={"services/web/backends/a": Answers(*counts)})


def udp() -> Desired:
    asked = desired()
    return replace(asked, services={name: replace(one, protocol=Protocol.UDP) for name, one in asked.services.items()})


def sent_from_here() -> Desired:
    """Outer headers have an address of this host as their source."""
    asked = desired(Mode.IPIP)
    services = {name: replace(one, outer_source=OuterSource.REAL) for name, one in asked.services.items()}
    return replace(asked, services=services)


def checked(admin: AdminState = AdminState.ENABLED, target: ProbeTarget = ProbeTarget.BACKEND, mode: Mode = Mode.NAT) -> Desired:
    """With a health check."""
    asked = desired(admin=admin)
    check = HealthCheck(Kind.HTTP, path="/healthz", target=target)
    return replace(asked, services={name: replace(one, health_check=check, mode=mode) for name, one in asked.services.items()})


def failing(why: Why, detail: str, **more: object) -> Facts:
    """Probes of the backend end so."""
    health = Health(State.DOWN, NOW, False, 5, history=(Probed(Outcome(why, 0.1, detail), NOW),))
    return replace(SOUND, down={"services/web/backends/a": Down(health, **more)})  # type: ignore[arg-type]


def own_mtu(mtu: int) -> Desired:
    asked = desired()
    return replace(asked, backends={name: replace(backend, mtu=mtu) for name, backend in asked.backends.items()})


VLAN = {"rx-vlan-hw-parse": True, "tx-vlan-hw-insert": False}
SHOW_MEMORY = "systemctl show -p MemoryMax l4lb-agent"
SILENT = with_way(usable=False, neighbour="failed")
TAGGED = with_device(offloads=VLAN, vlans=("eth0.7",))
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
CASES: list[tuple[str, Scope, Facts, Id, Severity, str]] = [
    ("an interface that is not there", scope(), replace(SOUND, devices={}), Id.INTERFACE_MISSING, ERROR, "ip link show"),
    ("no carrier", scope(), with_device(up=False), Id.INTERFACE_DOWN, ERROR, "ip link set dev eth0 up"),
    ("native", scope(), SOUND, Id.XDP_MODE, INFO, ""),
    ("generic as configured", scope("generic"), with_device(program=Program(7, "generic", True)), Id.XDP_MODE, INFO, ""),
    ("generic", scope(), with_device(program=Program(7, "generic", True)), Id.XDP_GENERIC, WARNING, "ethtool -i eth0"),
    ("generic to be", scope(running=False), with_device(program=None, native=False), Id.XDP_GENERIC, WARNING, "ethtool -i eth0"),
    ("native to be", scope(running=False), with_device(program=None), Id.XDP_MODE, INFO, ""),
    ("not told", scope(running=False), with_device(program=None, native=None), Id.XDP_MODE, INFO, ""),
    ("refused", scope(), with_device(program=None), Id.XDP_REFUSED, ERROR, "systemctl status l4lb-agent"),
    ("will refuse", scope("native", running=False), with_device(program=None, native=False), Id.XDP_REFUSED, ERROR, "ethtool -i eth0"),
    ("foreign", scope(), with_device(program=Program(9, "native", False)), Id.XDP_FOREIGN, ERROR, "bpftool prog show id 9"),
    ("LRO", scope(), with_device(offloads={"rx-lro": True}), Id.LRO_ON, ERROR, "ethtool -K eth0 lro off"),
    ("hardware GRO", scope(), with_device(offloads={"rx-gro-hw": True}), Id.GRO_HW_ON, WARNING, "ethtool -K eth0 rx-gro-hw off"),
    (
        "GRO before a generic program", scope("generic"), with_device(offloads={"rx-gro": True}, program=Program(7, "generic", True)),
        Id.GRO_ON, ERROR, "ethtool -K eth0 gro off",
    ),
    ("checksums", scope(), with_device(kind="veth", peer=Peer("p0", True)), Id.CHECKSUM_UNFINISHED, ERROR, "ethtool -K p0 tx off"),
    (
        "checksums elsewhere", scope(), with_device(kind="veth", peer=Peer("p0", True, "lab")), Id.CHECKSUM_UNFINISHED, ERROR,
        "ip netns exec lab ethtool -K p0 tx off",
    ),
    ("unseen checksums", scope(), with_device(kind="veth"), Id.CHECKSUM_UNSEEN, INFO, "ethtool -K OTHER_END tx off"),
    ("VLANs", scope(), TAGGED, Id.VLAN_OFFLOAD_ON, WARNING, "ethtool -K eth0 rxvlan off txvlan off"),
    (
        "a way over a VLAN", scope(), replace(TAGGED, ways={THERE: replace(WAY, interface="eth0.7")}),
        Id.VLAN_OFFLOAD_ON, ERROR, "ethtool -K eth0 rxvlan off txvlan off",
    ),
    (
        "VLANs of 802.1ad", scope(), with_device(offloads={"tx-vlan-stag-hw-insert": True}, vlans=("outer",), service_vlans=True),
        Id.VLAN_OFFLOAD_ON, WARNING, "ethtool -K eth0 rxvlan off txvlan off rx-vlan-stag-hw-parse off tx-vlan-stag-hw-insert off",
    ),
    ("few queues", scope(), with_device(queues=2), Id.QUEUES_FEW, WARNING, "ethtool -L eth0 combined 4"),
    ("no more queues", scope(), with_device(queues=2, queues_most=2), Id.QUEUES_FEW, INFO, ""),
    ("large MTU", scope(), with_device(mtu=9000, program=None), Id.MTU_TOO_LARGE, WARNING, "ip link set dev eth0 mtu 3498"),
    ("IPIP", scope(asked=desired(Mode.IPIP)), SOUND, Id.MTU_SHORT, WARNING, "ip link set dev eth0 mtu 1520"),
    ("GUE", scope(asked=desired(Mode.GUE)), SOUND, Id.MTU_SHORT, WARNING, "ip link set dev eth0 mtu 1532"),
    ("a tiny way", scope(asked=desired(Mode.FOU)), with_way(mtu=600), Id.MTU_SHORT, ERROR, "ip link set dev eth0 mtu 1528"),
    ("a backend's own MTU", scope(asked=own_mtu(1400)), SOUND, Id.MTU_SHORT, WARNING, "l4lbctl backend set web/a --mtu 1500"),
    ("a smaller way", scope(), with_way(mtu=1400), Id.MTU_SHORT, WARNING, f"ip route replace {THERE} dev eth0 mtu 1500"),
    ("two tags", scope(), with_way(mtu=1496, carrier="eth7"), Id.MTU_SHORT, WARNING, "ip link set dev eth7 mtu 1504"),
    ("a smaller link", scope(), narrow(1400), Id.MTU_SHORT, WARNING, "ip link set dev eth1 mtu 1500"),
    ("forwarding", scope(), with_device(forwards=frozenset({6})), Id.FORWARDING_OFF, ERROR, "/usr/lib/l4lb/forwarding on"),
    (
        "rp_filter", scope(), replace(with_device(strict=True), default_ways=frozenset({"eth1"})), Id.RP_FILTER_STRICT, WARNING,
        "sysctl -w net.ipv4.conf.eth0.rp_filter=2",
    ),
    ("no route", scope(), replace(SOUND, ways={THERE: None}), Id.BACKEND_NO_ROUTE, ERROR, f"ip route get {THERE}"),
    (
        "no route for one that drains", scope(asked=desired(admin=AdminState.DRAINING)), replace(SOUND, ways={THERE: None}),
        Id.BACKEND_NO_ROUTE, WARNING, f"ip route get {THERE}",
    ),
    ("silence", scope(), SILENT, Id.BACKEND_UNRESOLVED, ERROR, f"ip neigh show to {THERE} dev eth0"),
    ("a router", scope(asked=desired(Mode.DSR)), with_way(gateway=ROUTER), Id.BACKEND_BEHIND_ROUTER, ERROR, f"ip route get {THERE}"),
    (
        "this host without the VIP", scope(asked=desired(Mode.DSR)), replace(SOUND, local=frozenset({THERE})), Id.BACKEND_WAY_UNUSABLE,
        ERROR, "ip address add 192.0.2.10/32 dev lo",
    ),
    ("no outer source", scope(asked=sent_from_here()), with_way(source=None), Id.BACKEND_WAY_UNUSABLE, ERROR, "ip route get 192.0.2.21"),
    ("from the VIP", scope(asked=sent_from_here()), with_way(source=VIP), Id.BACKEND_WAY_UNUSABLE, ERROR, "ip route get 192.0.2.21"),
    ("answers come in elsewhere", scope(), with_way(interface="eth1"), Id.ANSWERS_UNSEEN, WARNING, "ip route get 192.0.2.21"),
    ("a way of no use", scope(), with_way(trouble="has two tags"), Id.BACKEND_WAY_UNUSABLE, ERROR, "ip -d link show dev eth0"),
    (
        "503", scope(asked=checked()), failing(Why.STATUS, "503 Service Unavailable"), Id.BACKEND_DOWN, WARNING,
        "l4lbctl health web/a",
    ),
    (
        "none UP", scope(asked=checked()), replace(SOUND, all_down={"services/web": 1}), Id.ALL_DOWN, ERROR, "l4lbctl backend list web"
    ),
    ("RSTs", scope(), answering(3, 0, 0, 3), Id.BACKEND_REFUSES, ERROR, f"l4lbctl capture --prefix {THERE} --count 4"),
    ("silence of all", scope(), answering(3, 3, 3), Id.BACKEND_SILENT, ERROR, "l4lbctl flows web/a"),
    ("silence of some", scope(), answering(900, 900, 9), Id.BACKEND_SILENT, WARNING, "l4lbctl flows web/a"),
    ("silence of DSR", scope(asked=desired(mode=Mode.DSR)), answering(0, 9, 9), Id.BACKEND_SILENT, WARNING, "l4lbctl flows web/a"),
    ("silence of UDP", scope(asked=udp()), answering(3, 3, 3), Id.BACKEND_SILENT, INFO, "l4lbctl flows web/a"),
    ("few ports", scope(), answering(48384, 0, 0), Id.SNAT_PORTS_SHORT, WARNING, "l4lbctl flows web/a"),
    ("no ports", scope(), answering(64000, 0, 0), Id.SNAT_PORTS_SHORT, ERROR, "l4lbctl flows web/a"),
    (
        "a VIP twice", scope(), replace(SOUND, claims=(Claim(VIP, "eth0", MAC),)), Id.VIP_DUPLICATE, ERROR,
        "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
    ),
    ("a VIP of the host", scope(), replace(SOUND, local=frozenset({VIP})), Id.VIP_IS_LOCAL, WARNING, ""),
    ("drops", scope(), replace(SOUND, drops={Reason.NO_SOURCE_PORT: 50.0}), Id.PACKETS_DROPPED, WARNING, "l4lbctl stats --watch"),
    ("scans", scope(), replace(SOUND, drops={Reason.NO_SERVICE: 0.7}), Id.PACKETS_DROPPED, INFO, "l4lbctl stats --watch"),
    (
        "a feature", scope(), replace(SOUND, kernel=replace(SOUND.kernel, lacks={"helper x for XDP": "unknown func"})),
        Id.KERNEL_FEATURE_MISSING, ERROR, "apt install linux-image-amd64",
    ),
    ("5.10", scope(), replace(SOUND, kernel=Kernel("5.10.0-30")), Id.KERNEL_UNTRIED, WARNING, "apt install linux-image-amd64"),
    ("no JIT", scope(), replace(SOUND, kernel=Kernel("6.1", jit=False)), Id.JIT_OFF, WARNING, "sysctl -w net.core.bpf_jit_enable=1"),
    ("no BCC", scope(), replace(SOUND, kernel=Kernel("6.1", compiler=False)), Id.COMPILER_MISSING, ERROR, "apt install python3-bpfcc"),
    ("no bpffs", scope(), replace(SOUND, pins=Pins("/p/q", "it is not on a bpffs", "/p")), Id.BPFFS_MISSING, ERROR, "mount -t bpf bpf /p"),
    ("another folder", scope(), replace(SOUND, pins=Pins("/p/q", "it is not on a bpffs")), Id.BPFFS_MISSING, ERROR, ""),
    ("memory", scope(), replace(SOUND, memory=Memory(1 << 20, "this host")), Id.MEMORY_SHORT, ERROR, SHOW_MEMORY),
    ("clock", scope(), replace(SOUND, clock=Clock(NOW, False)), Id.CLOCK_UNSYNCHRONISED, WARNING, "timedatectl set-ntp true"),
    ("the future", scope(asked=desired(updated=NOW + 3600)), SOUND, Id.CLOCK_BEHIND, ERROR, "timedatectl"),
    ("bad", scope(), replace(SOUND, certificates=(Certificate("/c", problem="/c is empty, it is"),)), Id.TLS_CERTIFICATE_BAD, ERROR, ""),
    ("expired", scope(), replace(SOUND, certificates=(Certificate("/c", 0, NOW - 1),)), Id.TLS_CERTIFICATE_BAD, ERROR, ""),
    ("not yet", scope(), replace(SOUND, certificates=(Certificate("/c", NOW + 1, NOW + 9),)), Id.TLS_CERTIFICATE_BAD, ERROR, ""),
    ("expires", scope(), replace(SOUND, certificates=(Certificate("/c", 0, NOW + 9),)), Id.TLS_CERTIFICATE_EXPIRES, WARNING, ""),
    ("unseen", scope(), replace(SOUND, unseen=(("the clock", "refused"),)), Id.NOT_EXAMINED, INFO, ""),
]  # fmt: skip


def test_a_backend_that_is_down_is_told_with_what_probes_met_and_what_becomes_of_it() -> None:
    def evidence(facts: Facts, asked: Desired) -> list[str]:
        return [one.evidence for one in examine(scope(asked=asked), facts) if one.id == Id.BACKEND_DOWN]

    [text] = evidence(failing(Why.REFUSED, "connecting: Connection refused"), checked())
    assert text == (
        f"probes by HTTP of {THERE} port 80: REFUSED, connecting: Connection refused; 5 in a row ended so, it takes no new flows; likely "
        "its host is there, and nothing listens"
    )
    [text] = evidence(failing(Why.UNREACHABLE, "no way", kept=True, flapping=True), checked())
    assert "all the same, since too few backends of its service are UP, and it is held DOWN" in text
    vip = evidence(failing(Why.TIMEOUT, "nothing"), checked(target=ProbeTarget.VIP, mode=Mode.DSR))[0]
    assert f"of the VIP {VIP} port 80, by DSR to {THERE}: TIMEOUT" in vip
    assert "likely it does not have the VIP (DSR), or its host" in vip
    for admin in AdminState:
        told = bool(evidence(failing(Why.TIMEOUT, ""), checked(admin)))
        assert told is (admin in (AdminState.ENABLED, AdminState.DRAINING)), "who is taken out already is nobody's worry"
    assert evidence(failing(Why.TIMEOUT, ""), desired()) == [], "the check has just been taken away"


def test_a_service_without_any_that_is_up_says_what_becomes_of_new_flows() -> None:
    for check, kept, words in (
        (HealthCheck(Kind.TCP), 2, "the 2 that were UP last go on"),
        (HealthCheck(Kind.TCP), 0, "none was UP before"),
        (HealthCheck(Kind.TCP, on_all_down=OnAllDown.REJECT), 0, "answered by DROP"),
    ):
        asked = checked()
        asked = replace(asked, services={name: replace(one, health_check=check) for name, one in asked.services.items()})
        [found] = [one for one in examine(scope(asked=asked), replace(SOUND, all_down={"services/web": kept})) if one.id == Id.ALL_DOWN]
        assert words in found.evidence


def test_a_sound_host_has_nothing_but_information() -> None:
    assert [(finding.id, finding.severity) for finding in examine(scope(), SOUND)] == [(Id.XDP_MODE, Severity.INFO)]


def test_every_finding_that_there_is_comes_up_here() -> None:
    assert {case[3] for case in CASES} == set(Id)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_each_defect_is_found_with_its_severity_and_its_command(case: tuple[str, Scope, Facts, Id, Severity, str]) -> None:
    _, looked_at, facts, wanted, severity, command = case
    [found] = [finding for finding in examine(looked_at, facts) if finding.id == wanted]
    assert found.severity is severity
    assert (found.cure[0] if found.cure else "") == command
    assert found.subject
    assert len(found.evidence.split()) >= 4


def test_commands_of_l4lbctl_are_there_with_their_options() -> None:
    cures = {cure for _, looked_at, facts, *_ in CASES for finding in examine(looked_at, facts) for cure in finding.cure}
    ours = [cure.split()[1:] for cure in cures if cure.startswith("l4lbctl ")]
    assert len(ours) > 5
    for words in ours:
        command: click.Command = cli
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words[0])
            assert found, words
            command, words = found, words[1:]
        command.make_parser(click.Context(command)).parse_args(args=list(words))


SAFE = {Id.LRO_ON, Id.GRO_HW_ON, Id.GRO_ON, Id.VLAN_OFFLOAD_ON, Id.FORWARDING_OFF, Id.BPFFS_MISSING}


def test_safe_is_only_what_interrupts_nothing() -> None:
    found = [finding for _, looked_at, facts, *_ in CASES for finding in examine(looked_at, facts)]
    assert {finding.id for finding in found if finding.safe} == SAFE
    assert all(finding.cure for finding in found if finding.safe)


def test_what_cannot_be_changed_is_not_safe_to_fix() -> None:
    offloads = {"rx-lro": True, "rx-gro-hw": True, "rx-gro": True, **VLAN}
    facts = with_device(offloads=offloads, fixed=frozenset(offloads), vlans=("eth0.7",), program=Program(7, "generic", True))
    found = [finding for finding in examine(scope(), facts) if finding.id in SAFE]
    assert len(found) == 4
    assert not any(finding.safe for finding in found)


@pytest.mark.parametrize(
    "facts",
    [
        with_device(offloads={"rx-gro": True}),  # native mode comes before GRO
        with_device(kind="veth", peer=Peer("p0", False)),
        with_device(offloads={"tx-vlan-stag-hw-insert": True}, vlans=("eth0.7",)),  # none of 802.1ad
        with_device(offloads=VLAN),  # without VLAN devices tags are nobody's business
        with_device(mtu=9000),  # taken natively all the same
        with_device(queues=0),
        replace(with_device(strict=True), default_ways=frozenset({"eth0"})),
        with_way(gateway=ROUTER),  # NAT reaches over routers
        replace(SOUND, claims=(Claim(VIP, "eth0", bytes(6)),)),  # another interface of ours
        replace(SOUND, memory=Memory(1 << 34, "this host")),
        replace(SOUND, memory=Memory(0, "this host", taken=1 << 34)),
        replace(SOUND, clock=Clock(NOW, None)),
        replace(SOUND, certificates=(Certificate("/c", NOW - 9, NOW + 9),)),
        replace(SOUND, kernel=Kernel("7.0-rc1")),
        answering(2, 2, 2, 2),  # it may be their clients
        answering(48383, 48383, 483, 483),  # less than a hundredth, and less than three quarters of the ports
        replace(SOUND, answers={"services/web/backends/removed": Answers(9, 9, 9, 9)}),
    ],
)
def test_what_is_no_defect_is_not_told(facts: Facts) -> None:
    assert worst(examine(scope(), replace(facts, clock=replace(facts.clock, now=NOW)))) is Severity.INFO


@pytest.mark.parametrize(
    ("clamp", "mss", "protocol", "room", "told"),
    [
        (MssClamp.AUTO, 0, Protocol.TCP, 1400, None),
        (MssClamp.FIXED, 1360, Protocol.TCP, 1400, None),
        (MssClamp.FIXED, 1361, Protocol.TCP, 1400, WARNING),
        (MssClamp.AUTO, 0, Protocol.TCP, 500, ERROR),
        (MssClamp.OFF, 0, Protocol.TCP, 1400, WARNING),
        (MssClamp.OFF, 0, Protocol.UDP, 1400, WARNING),
    ],
)
def test_smaller_segments_need_no_room(clamp: MssClamp, mss: int, protocol: Protocol, room: int, told: Severity | None) -> None:
    asked = desired()
    services = {name: replace(one, mss_clamp=clamp, mss=mss, protocol=protocol) for name, one in asked.services.items()}
    found = [one for one in examine(scope(asked=replace(asked, services=services)), with_way(mtu=room)) if one.id == Id.MTU_SHORT]
    assert [one.severity for one in found] == ([told] if told else [])
    assert all(("l4lbctl service update web --mss-clamp auto" in one.cure) is (protocol is Protocol.TCP) for one in found)


@pytest.mark.parametrize("admin", [AdminState.DRAINED, AdminState.DISABLED])
def test_what_nobody_is_sent_to_is_not_told_of(admin: AdminState) -> None:
    assert worst(examine(scope(asked=desired(admin=admin)), answering(9, 9, 9, 9))) is Severity.INFO


@pytest.mark.parametrize(
    ("others", "severity"),
    [
        ((0, 9, 0), ERROR),  # of which clients have heard
        ((0, 9, 2), ERROR),
        ((0, 9, 3), WARNING),  # a flood goes to all
        ((0, 0, 0), WARNING),
        (None, WARNING),
    ],
)
def test_a_backend_of_dsr_that_no_client_hears_is_one_that_differs_from_others(
    others: tuple[int, int, int] | None, severity: Severity
) -> None:
    asked = desired(mode=Mode.DSR)
    b = Backend("services/web/backends/b", ROUTER, 80, updated=NOW)
    asked = Desired(1, asked.services, {**asked.backends, b.name: b})
    counts = {"services/web/backends/a": Answers(0, 12, 3)} | ({b.name: Answers(*others)} if others else {})
    found = [one for one in examine(scope(asked=asked), replace(SOUND, answers=counts)) if one.id == Id.BACKEND_SILENT]
    assert [one.severity for one in found if one.subject.endswith("/a")] == [severity]
    assert ("forged" in found[0].evidence) is (severity is WARNING)


def test_few_clients_of_dsr_that_are_silent_say_nothing() -> None:
    for counts in ((0, 2, 2), (0, 400, 3)):
        assert not any(one.id == Id.BACKEND_SILENT for one in examine(scope(asked=desired(mode=Mode.DSR)), answering(*counts)))


def test_services_that_share_a_server_share_its_source_ports() -> None:
    asked = desired()
    other = replace(asked.services["services/web"], name="services/other", port=81)
    backend = Backend("services/other/backends/b", THERE, 80, updated=NOW)
    both = Desired(1, {**asked.services, other.name: other}, {**asked.backends, backend.name: backend})
    counts = {"services/web/backends/a": Answers(30000), backend.name: Answers(31000)}
    [found] = [one for one in examine(scope(asked=both), replace(SOUND, answers=counts)) if one.id == Id.SNAT_PORTS_SHORT]
    assert (found.subject, "61000 of 64512 source ports" in found.evidence) == (backend.name, True)


def test_families_without_source_address_need_no_forwarding_and_a_local_dsr_backend_no_way() -> None:
    assert worst(examine(scope(snat=()), with_device(forwards=frozenset()))) is Severity.INFO
    here = replace(SOUND, local=frozenset({THERE, VIP}), ways={THERE: None})
    assert {finding.id for finding in examine(scope(asked=desired(Mode.DSR)), here) if finding.severity > INFO} == {Id.VIP_IS_LOCAL}


def test_only_answers_that_are_translated_need_the_program_where_they_come_in() -> None:
    other = with_way(interface="eth0.7")
    on_vlan = replace(other, devices={"eth0": replace(ETH0, vlans=("eth0.7",))})
    for mode in Mode:
        for facts, unseen in ((other, mode.translates), (on_vlan, False)):
            assert (Id.ANSWERS_UNSEEN in {finding.id for finding in examine(scope(asked=desired(mode)), facts)}) == unseen


def test_backends_with_the_same_way_are_told_once_and_many_findings_of_one_kind_only_counted() -> None:
    asked = desired(Mode.IPIP)
    backends = {
        f"services/web/backends/{n}": Backend(f"services/web/backends/{n}", address(f"10.0.{n // 256}.{n % 256}"), 80) for n in range(300)
    }
    silent = dict.fromkeys((b.address for b in backends.values()), replace(WAY, usable=False, neighbour="incomplete"))
    found = examine(scope(asked=replace(asked, backends=backends)), replace(SOUND, ways=silent))
    [short] = [finding for finding in found if finding.id == Id.MTU_SHORT]
    assert "and 299 more" in short.evidence
    unresolved = [finding for finding in found if finding.id == Id.BACKEND_UNRESOLVED]
    assert len(unresolved) == MOST + 1
    assert unresolved[-1].evidence == f"and {300 - MOST} more of this kind"


def test_the_worst_comes_first_and_the_agent_s_warnings_are_told_once() -> None:
    mixed = [Finding("B", Severity.INFO, "x", "y"), Finding("A", Severity.ERROR, "x", "y"), Finding("A", Severity.ERROR, "x", "y")]
    assert [finding.id for finding in in_order(mixed)] == ["A", "B"]
    merged = with_warnings(mixed, [("A", "the same"), ("RING_SMALL", "too small")])
    assert [(finding.id, finding.subject) for finding in merged] == [("A", "x"), ("RING_SMALL", "agent"), ("B", "x")]
    assert worst([]) is Severity.INFO


def test_memory_of_the_maps_grows_with_what_is_asked_for() -> None:
    small, large = (machine.map_bytes(DatapathConfig(sizes=Sizes(flows=flows)), 2) for flows in (1 << 10, 1 << 20))
    assert 200 << 20 < large - small < 500 << 20


def test_drops_by_lists_say_which_lists_there_are() -> None:
    asked = desired()
    listed = replace(asked.services["services/web"], deny_list="lists/bad", allow_list="lists/good")
    facts = replace(SOUND, drops={Reason.DENIED: 1.0, Reason.NOT_ALLOWED: 1.0, Reason.NO_SERVICE: 1.0})
    found = examine(scope(asked=replace(asked, services={listed.name: listed})), facts)
    told = {one.subject: one.evidence for one in found if one.id == Id.PACKETS_DROPPED}
    assert told["DENIED"].endswith("(bad of web)")
    assert told["NOT_ALLOWED"].endswith("(good of web)")
    assert "(" not in told["NO_SERVICE"]


def test_drops_are_what_grew_between_two_readings() -> None:
    drop, passed, aborted = Verdict.DROP, Verdict.PASS, Verdict.ABORTED
    before = Counters({}, {}, {(Reason.NO_BACKEND, drop): (10, 0), (Reason.CLOSED, drop): (5, 0)}, 100.0)
    counts = {(Reason.NO_BACKEND, drop): 30, (Reason.NO_BACKEND, aborted): 10, (Reason.CLOSED, drop): 5, (Reason.FOREIGN, passed): 9}
    after = Counters({}, {}, {key: (count, 0) for key, count in counts.items()}, 102.0)
    assert drops.between(before, after) == {Reason.NO_BACKEND: 15.0}
    assert drops.between(after, after) == {}


async def test_callers_share_a_look_and_the_next_one_looks_again() -> None:
    examiner, clock = FakeExaminer(), FakeClock()
    examiner.seen = SOUND
    doors = Doors(FakeDatapath(config().sizes), FakeNetwork(), clock, FakeJournal(), examiner, FakeProber())
    interfaces = (Interface("eth0", "native"),)
    monitor = Monitor(doors.datapath, interfaces, frozenset, frozenset, lambda: None)
    near = Surroundings(doors.network, clock, lambda: None)
    near.adopt({THERE: hop()})
    answers = {"services/web/backends/a": Answers(5, 5, 5)}
    asked: list[Desired] = []
    looked = Looked()

    async def answered(desired: Desired) -> dict[str, Answers]:
        asked.append(desired)
        return answers

    doctor = Doctor(doors, lambda: Host("boot", "6.1", interfaces, config()), monitor, near, desired, answered, lambda: looked)
    assert await doctor.diagnose() == await doctor.diagnose()
    assert len(examiner.scopes) == len(asked) == 1
    assert [one.id for one in await doctor.diagnose()][:1] == [Id.BACKEND_SILENT]
    [looked_at] = examiner.scopes
    assert (looked_at.interfaces, looked_at.running, looked_at.backends) == ({"eth0": "native"}, True, frozenset({THERE}))
    assert "not attached yet" in looked_at.why["eth0"]
    assert looked_at.next_hops == {THERE: hop()}
    clock.ahead += SHARED_SECONDS + 1
    await doctor.diagnose()
    assert len(examiner.scopes) == 2


def test_cures_are_run_after_a_yes_each_and_only_the_safe_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def one(id: Id, *commands: str, safe: bool = True) -> Finding:
        return Finding(id, ERROR, "eth0", "it is so", tuple(commands), safe)

    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    found = [one(Id.GRO_ON, f"touch {first}", f"touch {second}"), one(Id.XDP_FOREIGN, f"touch {third}", safe=False)]
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return str(second) in question

    assert cure(found, False, ask)
    assert asked == [f"GRO_ON eth0: run `touch {path}`?" for path in (first, second)]
    assert [path.exists() for path in (first, second, third)] == [False, True, False]
    assert not cure(found, False, lambda _: False)
    assert cure(found, True, ask)
    assert (len(asked), first.exists(), third.exists()) == (2, True, False), "--yes asks nobody"
    failing = [one(Id.GRO_ON, "false"), one(Id.LRO_ON, f"ls {tmp_path}/none"), one(Id.BPFFS_MISSING, "/no/such/command")]
    assert cure(failing, True, ask)
    said = capsys.readouterr().err
    assert "failed: exit status 1" in said
    assert said.count("No such file or directory") == 2
