"""bpf(2) as dataplane/syscall.py speaks it, against the running kernel."""

import errno
import os
import struct
import time
from pathlib import Path

import pytest

from l4lb_agent.dataplane import syscall
from l4lb_agent.dataplane.fd import Fd
from tests.kernel.conftest import Pair, run, verdict

HASH, ARRAY, PERCPU_ARRAY = 1, 2, 6


def key(number: int) -> bytes:
    return struct.pack("=I", number)


def test_a_map_is_what_was_asked_for() -> None:
    with Fd(syscall.map_create(HASH, 4, 12, 77, name="l4lb_flows_and_more")) as fd:
        info = syscall.map_info(fd.fileno())
        assert (info.type, info.key_size, info.value_size, info.max_entries, info.flags) == (HASH, 4, 12, 77, 0)
        assert info.name == "l4lb_flows_and_"
        assert info.id > 0


def test_elements_are_set_found_and_deleted() -> None:
    with Fd(syscall.map_create(HASH, 4, 3, 8)) as fd:
        number = fd.fileno()
        assert syscall.map_lookup(number, key(1), 3) is None
        syscall.map_update(number, key(1), b"abc")
        with pytest.raises(FileExistsError):
            syscall.map_update(number, key(1), b"xyz", syscall.NOEXIST)
        assert syscall.map_lookup(number, key(1), 3) == b"abc"
        assert syscall.map_next_key(number, None, 4) == key(1)
        assert syscall.map_next_key(number, key(1), 4) is None
        assert syscall.map_take(number, key(1), 3) == b"abc"
        assert syscall.map_take(number, key(1), 3) is None
        assert syscall.map_delete(number, key(1)) is False


def test_a_full_hash_says_so() -> None:
    with Fd(syscall.map_create(HASH, 4, 4, 1)) as fd:
        syscall.map_update(fd.fileno(), key(1), key(1))
        with pytest.raises(OSError) as caught:
            syscall.map_update(fd.fileno(), key(2), key(2))
        assert caught.value.errno == errno.E2BIG
        assert "map update" in str(caught.value)


def test_batches_fill_the_caller_s_buffers() -> None:
    with Fd(syscall.map_create(HASH, 4, 8, 1000)) as fd:
        keys, values = bytearray(4000), bytearray(8000)
        for i in range(1000):
            struct.pack_into("=I", keys, 4 * i, i)
            struct.pack_into("=Q", values, 8 * i, i * i)
        assert syscall.map_update_batch(fd.fileno(), keys, values, 1000) == 1000
        found: dict[int, int] = {}
        state, first, end = bytearray(8), True, False
        got_keys, got_values = bytearray(4 * 300), bytearray(8 * 300)
        while not end:
            count, end = syscall.map_lookup_batch(fd.fileno(), state, first, got_keys, got_values, 300)
            first = False
            found |= dict(zip(memoryview(got_keys)[: 4 * count].cast("I"), memoryview(got_values)[: 8 * count].cast("Q")))
        assert found == {i: i * i for i in range(1000)}


def test_pins_bring_the_same_map_back(bpffs: Path) -> None:
    with Fd(syscall.map_create(ARRAY, 4, 4, 2)) as fd:
        syscall.map_update(fd.fileno(), key(1), key(5))
        syscall.obj_pin(fd.fileno(), bpffs / "m")
        identity = syscall.map_info(fd.fileno()).id
    with Fd(syscall.obj_get(bpffs / "m")) as again:
        assert syscall.map_info(again.fileno()).id == identity
        assert syscall.map_lookup(again.fileno(), key(1), 4) == key(5)
    with pytest.raises(FileNotFoundError, match="open pin"):
        syscall.obj_get(bpffs / "nothing")


def test_a_refused_program_tells_the_verifier_s_reason() -> None:
    without_result = bytes([0x95, 0, 0, 0, 0, 0, 0, 0])
    with pytest.raises(syscall.VerifierError) as caught:
        syscall.prog_load(without_result, "bad")
    assert caught.value.errno == errno.EACCES
    assert "R0 !read_ok" in caught.value.log
    assert "R0 !read_ok" in str(caught.value)


def test_a_test_run_gives_verdict_packet_and_duration(passing: Fd) -> None:
    packet = bytes(range(64))
    run = syscall.prog_test_run(passing.fileno(), packet, ifindex=1, repeat=10)
    assert (run.retval, run.data) == (2, packet)
    assert run.duration >= 0


def test_live_frames_are_really_carried_out(inside: Pair) -> None:
    """XDP_DROP leaves no trace; XDP_TX on eth0 arrives at the peer."""
    ifindex = int(Path("/proc/net/if_inet6").read_text().split("eth0")[0].splitlines()[-1].split()[1], 16)
    run("ip", "netns", "exec", inside.peer, "ethtool", "-K", "eth0", "gro", "on")

    def received() -> int:
        return int(inside.ip(inside.peer, "-j", "-s", "link", "show", "eth0").split('"rx":')[1].split('"packets":')[1].split(",")[0])

    before = received()
    with Fd(syscall.prog_load(verdict(3), "tx")) as program:
        syscall.prog_test_run(program.fileno(), b"\xff" * 12 + b"\x88\xb5" + bytes(50), ifindex=ifindex, repeat=7, live=True)
    deadline = time.monotonic() + 5
    while received() < before + 7 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert received() >= before + 7


def test_links_attach_swap_only_the_expected_program_and_name_their_device(inside: Pair, passing: Fd) -> None:
    ifindex = int(Path("/proc/net/if_inet6").read_text().split("eth0")[0].splitlines()[-1].split()[1], 16)
    with Fd(syscall.prog_load(verdict(1), "drop")) as drop, Fd(syscall.link_create(passing.fileno(), ifindex)) as link:
        info = syscall.link_info(link.fileno())
        assert (info.ifindex, info.program_id) == (ifindex, syscall.prog_info(passing.fileno()).id)
        with pytest.raises(PermissionError):
            syscall.link_update(link.fileno(), drop.fileno(), expected=drop.fileno())
        syscall.link_update(link.fileno(), drop.fileno(), expected=passing.fileno())
        assert syscall.link_info(link.fileno()).program_id == syscall.prog_info(drop.fileno()).id
        with pytest.raises(OSError) as caught:
            syscall.link_create(passing.fileno(), ifindex)
        assert caught.value.errno == errno.EBUSY
        inside.ip(inside.lb, "link", "delete", "eth0")
        assert syscall.link_info(link.fileno()).ifindex == 0
        with pytest.raises(OSError) as caught:
            syscall.link_update(link.fileno(), passing.fileno())
        assert caught.value.errno == errno.ENOLINK


def test_tag_names_the_code_and_not_the_load(passing: Fd) -> None:
    with Fd(syscall.prog_load(verdict(2), "again")) as again, Fd(syscall.prog_load(verdict(1), "drop")) as drop:
        tags = [syscall.prog_info(fd.fileno()).tag for fd in (passing, again, drop)]
    assert tags[0] == tags[1] != tags[2]


def test_a_grace_period_ends() -> None:
    syscall.membarrier()


def test_closing_twice_closes_nothing_else() -> None:
    fd = Fd(os.open("/dev/null", os.O_RDONLY))
    fd.close()
    fd.close()
    with pytest.raises(ValueError, match="closed"):
        fd.fileno()


def test_the_verifier_s_statistics_come_with_the_program() -> None:
    number, statistics = syscall.prog_load_with_statistics(verdict(2), "counted")
    with Fd(number) as program:
        assert syscall.prog_info(program.fileno()).name == "counted"
        assert "processed 2 insns" in statistics
        assert "stack depth 0" in statistics
