"""What a second agent finds: maps, generations and links of the first, or a refusal that says why."""

import ctypes
import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from l4lb_agent.dataplane import pins, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.kernel import KernelDatapath, detach_all
from l4lb_agent.dataplane.maps import ShapeError
from l4lb_agent.model import layout, mapspec
from l4lb_agent.model.tables import Grace, Write, array_key
from tests.kernel.conftest import Pair, enter, run, verdict
from tests.kernel.trivial import PASS, TX, Trivial

SIZES = mapspec.Sizes(services=4, backends=8, addresses=8, flows=1024, rings_1021=2, rings_4093=1, rings_16381=1, rings_65537=1)


def write_config(datapath: KernelDatapath, version: int = layout.LAYOUT_VERSION) -> None:
    datapath.execute(Write("config", array_key(0), bytes(layout.Config(layout=version)), "test"))


def test_the_first_agent_creates_every_map_with_its_shape(bpffs: Path) -> None:
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    assert datapath.adopted is False
    assert sorted(os.listdir(bpffs / "l4lb/maps")) == sorted(spec.name for spec in mapspec.specs(SIZES))
    states = {state.name: state for state in datapath.maps()}
    assert states["flows"].max_entries == 1024
    assert states["rings_65537"].bytes >= 2 * layout.ring_slots(65537)
    datapath.close()


def test_the_next_agent_adopts_the_same_maps_and_program(bpffs: Path) -> None:
    first, program = KernelDatapath(bpffs / "l4lb", SIZES, Trivial()), Trivial()
    write_config(first)
    first.execute(Grace())
    ring = (b"\1\2" * layout.ring_slots(65537))[: 2 * layout.ring_slots(65537)]
    first.execute(Write("rings_65537", array_key(0), ring, "test"))
    before = [(state.name, state.map_id) for state in first.maps()]
    first.close()
    second = KernelDatapath(bpffs / "l4lb", SIZES, program)
    assert second.adopted is True
    assert [(state.name, state.map_id) for state in second.maps()] == before
    assert program.loads == 0
    assert second.read_tables().get("rings_65537") == {array_key(0): ring}
    assert second.read_tables().get("services") == {}
    second.close()


def test_a_service_begins_with_a_full_bucket_when_its_limit_changes_and_only_then(bpffs: Path) -> None:
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    used, key = bytes(layout.LimitLine(word=(layout.U64 * 8)(1 << 51))), array_key(2)

    def left_after(**terms: int) -> bool:
        datapath.execute(Write("policies", key, bytes(layout.Policy(**terms)), "test"))
        with Fd(syscall.obj_get(bpffs / "l4lb/maps/service_limits")) as buckets:
            left = syscall.map_lookup(buckets.fileno(), key, len(used)) == used
            syscall.map_update(buckets.fileno(), key, used)
        return left

    assert not left_after(service_interval=10, service_tolerance=20)
    assert left_after(service_interval=10, service_tolerance=20)
    assert left_after(service_interval=10, service_tolerance=20, source_interval=5, deny_list=1)
    assert not left_after(service_interval=10, service_tolerance=30)
    assert not left_after(service_interval=5, service_tolerance=30)
    assert not left_after()
    datapath.close()


def test_a_map_of_another_size_is_refused_with_what_to_do_and_left_alone(bpffs: Path) -> None:
    first = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    write_config(first)
    first.close()
    with pytest.raises(ShapeError, match=r"map flows pinned at .*1024 elements of 4\+64.*wanted.*2048.*l4lb-agent detach"):
        KernelDatapath(bpffs / "l4lb", replace(SIZES, flows=2048), Trivial())
    again = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    assert again.adopted is True
    again.close()


@pytest.mark.parametrize(("type_", "key", "value", "name"), [(1, 4, 64, "services"), (2, 4, 72, "services"), (2, 4, 64, "foreign")])
def test_a_foreign_map_under_our_name_is_never_written(bpffs: Path, type_: int, key: int, value: int, name: str) -> None:
    (bpffs / "l4lb/maps").mkdir(parents=True)
    with Fd(syscall.map_create(type_, key, value, SIZES.services, name=name)) as foreign:
        syscall.obj_pin(foreign.fileno(), bpffs / "l4lb/maps/services")
        with pytest.raises(ShapeError, match="map services pinned at"):
            KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    assert os.listdir(bpffs / "l4lb/maps") == ["services"]


def test_maps_of_another_layout_are_refused(bpffs: Path) -> None:
    first = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    write_config(first, version=layout.LAYOUT_VERSION + 1)
    first.close()
    with pytest.raises(ShapeError, match=f"layout {layout.LAYOUT_VERSION + 1}, this agent writes layout"):
        KernelDatapath(bpffs / "l4lb", SIZES, Trivial())


def test_a_second_agent_is_refused_naming_the_holder_until_the_first_ends(bpffs: Path) -> None:
    first = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    with pytest.raises(BlockingIOError, match=f"another l4lb-agent, pid {os.getpid()}"):
        KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    first.close()
    KernelDatapath(bpffs / "l4lb", SIZES, Trivial()).close()


def test_a_folder_that_is_no_bpffs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="is not on a bpffs"):
        KernelDatapath(tmp_path / "l4lb", SIZES, Trivial())


def test_an_interrupted_publication_is_made_good(bpffs: Path) -> None:
    (bpffs / "l4lb/%new-maps").mkdir(parents=True)
    with Fd(syscall.map_create(2, 4, 4, 1)) as half:
        syscall.obj_pin(half.fileno(), bpffs / "l4lb/%new-maps/config")
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    assert datapath.adopted is False
    assert os.listdir(bpffs / "l4lb").count("%new-maps") == 0
    datapath.close()


def test_a_single_missing_pin_is_made_again_and_the_program_bound_to_it(bpffs: Path) -> None:
    KernelDatapath(bpffs / "l4lb", SIZES, Trivial()).close()
    (bpffs / "l4lb/maps/config").unlink()
    program = Trivial()
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, program)
    assert datapath.adopted is False
    assert program.loads == 1
    datapath.close()


def test_attaching_twice_keeps_link_and_program(inside: Pair, bpffs: Path) -> None:
    first = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    attached = first.attach("eth0", "auto")
    assert (attached.mode, attached.reason) == ("native", "native mode taken by the driver")
    assert first.attach("eth0", "auto") == attached
    first.close()
    second = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    again = second.attach("eth0", "native")
    assert (again.link_id, again.program_id, again.mode) == (attached.link_id, attached.program_id, "native")
    assert again.reason == "adopted as it was"
    second.close()


def test_a_new_program_moves_into_the_same_link_and_the_old_generation_goes(inside: Pair, bpffs: Path) -> None:
    first = KernelDatapath(bpffs / "l4lb", SIZES, Trivial(PASS))
    attached = first.attach("eth0", "auto")
    first.close()
    second = KernelDatapath(bpffs / "l4lb", SIZES, Trivial(TX))
    assert sorted(pins.names(bpffs / "l4lb/generations")) == [Trivial(PASS).tag, Trivial(TX).tag]
    assert second.interface_state("eth0").program_id == attached.program_id
    moved = second.attach("eth0", "auto")
    assert moved.link_id == attached.link_id
    assert moved.program_id != attached.program_id
    assert moved.program_tag != attached.program_tag
    assert pins.names(bpffs / "l4lb/generations") == [Trivial(TX).tag]
    second.close()


def test_a_generation_stays_while_another_interface_runs_it(inside: Pair, bpffs: Path) -> None:
    inside.ip(inside.lb, "link", "add", "eth1.7", "type", "veth", "peer", "name", "x", "netns", inside.peer)
    first = KernelDatapath(bpffs / "l4lb", SIZES, Trivial(PASS))
    for interface in ("eth0", "eth1.7"):
        first.attach(interface, "auto")
    first.close()
    second = KernelDatapath(bpffs / "l4lb", SIZES, Trivial(TX))
    second.attach("eth0", "auto")
    assert len(pins.names(bpffs / "l4lb/generations")) == 2
    second.attach("eth1.7", "auto")
    assert pins.names(bpffs / "l4lb/generations") == [Trivial(TX).tag]
    assert pins.names(bpffs / "l4lb/links") == ["eth0", "eth1.7"]
    second.close()


def test_the_attached_mac_is_known_to_the_datapath(inside: Pair, bpffs: Path) -> None:
    inside.ip(inside.lb, "link", "set", "eth0", "address", "02:00:00:00:12:34")
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    ifindex = datapath.attach("eth0", "auto").ifindex
    with Fd(syscall.obj_get(bpffs / "l4lb/maps/interfaces")) as interfaces:
        found = syscall.map_lookup(interfaces.fileno(), array_key(ifindex % layout.INTERFACE_PLACES), ctypes.sizeof(layout.Interface))
    assert found == ifindex.to_bytes(4, "little") + bytes.fromhex("020000001234") + bytes(6)
    datapath.close()


def test_a_replaced_device_gets_a_new_link(inside: Pair, bpffs: Path) -> None:
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    before = datapath.attach("eth0", "auto")
    inside.ip(inside.lb, "link", "delete", "eth0")
    assert datapath.interface_state("eth0").reason == "interface eth0: does not exist"
    with pytest.raises(OSError, match="does not exist") as caught:
        datapath.attach("eth0", "auto")
    assert caught.value.errno == errno.ENODEV
    inside.ip(inside.lb, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", inside.peer)
    assert datapath.interface_state("eth0").mode == ""
    after = datapath.attach("eth0", "auto")
    assert (after.mode, after.link_id != before.link_id) == ("native", True)
    datapath.close()


def test_a_driver_without_native_mode_is_attached_generic_and_says_why(inside: Pair, bpffs: Path) -> None:
    inside.ip(inside.lb, "link", "add", "bridge0", "type", "bridge")
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    with pytest.raises(OSError, match="interface bridge0, XDP in native mode: Operation not supported"):
        datapath.attach("bridge0", "native")
    state = datapath.attach("bridge0", "auto")
    assert (state.mode, state.reason) == ("generic", "native mode refused by the driver: Operation not supported")
    datapath.close()


def test_another_mode_is_not_forced_on_a_running_link(inside: Pair, bpffs: Path) -> None:
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    before = datapath.attach("eth0", "generic")
    with pytest.raises(OSError, match="runs in generic mode, native is configured") as caught:
        datapath.attach("eth0", "native")
    assert caught.value.errno == errno.EEXIST
    assert datapath.interface_state("eth0") == before
    datapath.close()


def test_a_foreign_program_is_named_and_stays(inside: Pair, bpffs: Path) -> None:
    ifindex = int(inside.ip(inside.lb, "-o", "link", "show", "eth0").split(":")[0])
    with Fd(syscall.prog_load(verdict(2), "foreign")) as foreign, Fd(syscall.link_create(foreign.fileno(), ifindex)):
        identity = syscall.prog_info(foreign.fileno()).id
        datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
        for mode in ("auto", "native", "generic"):
            with pytest.raises(OSError, match=f"eth0 already runs XDP program {identity} \\(native\\)") as caught:
                datapath.attach("eth0", mode)
            assert caught.value.errno == errno.EBUSY
        assert f"XDP program {identity}" in datapath.interface_state("eth0").reason
        datapath.close()


def test_another_pin_directory_on_the_interface_is_told_the_program(inside: Pair, bpffs: Path) -> None:
    first, second = (KernelDatapath(bpffs / name, SIZES, Trivial()) for name in ("one", "two"))
    program = first.attach("eth0", "auto").program_id
    with pytest.raises(OSError, match=f"program {program} .*which this pin directory does not own"):
        second.attach("eth0", "auto")
    first.close()
    second.close()


def test_pins_removed_under_a_running_agent_cost_nothing_and_are_made_again(inside: Pair, bpffs: Path) -> None:
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    attached = datapath.attach("eth0", "auto")
    maps = [(state.name, state.map_id) for state in datapath.maps()]
    for folder in ("links", "maps", "generations"):
        pins.remove(bpffs / "l4lb" / folder)
    assert f"prog/xdp id {attached.program_id}" in inside.ip(inside.lb, "link", "show", "eth0")
    assert (datapath.interface_state("eth0").mode, datapath.interface_state("eth0").reason) == ("", "its pin was removed")
    datapath.sweep({})
    again = datapath.attach("eth0", "auto")
    assert (again.link_id, again.program_id) == (attached.link_id, attached.program_id)
    datapath.close()
    second = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    assert second.adopted
    assert [(state.name, state.map_id) for state in second.maps()] == maps
    assert second.attach("eth0", "auto").program_id == attached.program_id
    second.close()


def test_maps_of_another_version_stay_pinned_until_nothing_of_it_runs(
    inside: Pair, bpffs: Path, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    inside.ip(inside.lb, "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", inside.peer)
    older = KernelDatapath(bpffs / "l4lb", SIZES, Trivial(TX))
    older.attach("eth0", "auto")
    older.attach("eth1", "auto")
    older.close()
    with Fd(syscall.map_create(2, 4, 16, 8, name="backend_counters")) as unknown:
        syscall.obj_pin(unknown.fileno(), bpffs / "l4lb/maps/backend_counters")
    caplog.set_level("INFO")
    newer = KernelDatapath(bpffs / "l4lb", SIZES, Trivial(PASS))
    newer.attach("eth0", "auto")
    assert "backend_counters" in os.listdir(bpffs / "l4lb/maps")
    newer.attach("eth1", "auto")
    assert sorted(os.listdir(bpffs / "l4lb/maps")) == sorted(spec.name for spec in mapspec.specs(SIZES))
    assert [record.message for record in caplog.records if "maps_retired" in record.message] == [
        "event=maps_retired maps=backend_counters why='no program of this version knows them'"
    ]
    newer.close()


def test_a_link_of_another_namespace_is_not_taken_for_this_one_s(inside: Pair, bpffs: Path) -> None:
    """The same name and index, another device: its own link is made."""
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    first = datapath.attach("eth0", "auto")
    datapath.close()
    with open(f"/run/netns/{inside.peer}") as namespace:
        enter(namespace.fileno())
    second = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    moved = second.attach("eth0", "auto")
    assert moved.ifindex == first.ifindex
    assert (moved.mode, moved.link_id != first.link_id) == ("native", True)
    assert "xdp" not in inside.ip(inside.lb, "link", "show", "eth0")
    second.close()


def test_detaching_takes_the_program_off_at_once(inside: Pair, bpffs: Path) -> None:
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    datapath.attach("eth0", "auto")
    datapath.detach("eth0")
    assert datapath.interface_state("eth0").reason == "not attached"
    assert "xdp" not in inside.ip(inside.lb, "link", "show", "eth0")
    datapath.detach("eth0")
    datapath.close()


def test_detaching_all_leaves_nothing_even_of_another_layout(inside: Pair, bpffs: Path) -> None:
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    datapath.attach("eth0", "auto")
    write_config(datapath, version=99)
    with pytest.raises(BlockingIOError, match="pid"):
        detach_all(bpffs / "l4lb")
    datapath.close()
    assert detach_all(bpffs / "l4lb") == ["eth0"]
    assert os.listdir(bpffs / "l4lb") == []
    assert "xdp" not in inside.ip(inside.lb, "link", "show", "eth0")


def test_traffic_survives_the_agent(inside: Pair, bpffs: Path) -> None:
    """The link lives by its pin: closing every descriptor takes nothing off."""
    datapath = KernelDatapath(bpffs / "l4lb", SIZES, Trivial())
    program = datapath.attach("eth0", "auto").program_id
    datapath.close()
    assert f"prog/xdp id {program}" in run("ip", "-n", inside.lb, "link", "show", "eth0")
