"""docs/operations.md has every finding of the doctor and every warning of the agent, with what it means and what to do, and no others."""

import ast
import re
from collections.abc import Iterator

import pytest

from l4lb_agent.model.backend import AdminState, DrainResult
from l4lb_agent.model.doctor.finding import Id, Severity
from l4lb_agent.model.health.effective import EffectiveState
from l4lb_agent.model.health.state import State
from lab.faults.planted import FAULTS
from tests.law.python_rules import ROOT, python_files

TEXT = (ROOT / "docs/operations.md").read_text()
FINDINGS = re.findall(r"^\| ([A-Z_]+) \| ([A-Z, ]+) \| (.+?) \| (.+?) \|$", TEXT, re.M)
WARNINGS = re.findall(r"^\| ([A-Z_]+) \| ((?:[^|A-Z]|[A-Z][^|A-Z])[^|]*) \| ([^|]+) \|$", TEXT, re.M)


_DOCTOR, _LOOKS, _WHOLE_HOST = ("tests/kernel/test_doctor.py", "tests/kernel/test_looks.py", "tests/kernel/test_whole_host.py")
_BESIDE, _FAULTS = "tests/netns/test_doctor.py", "lab/faults/planted.py"
# Where each finding is provoked for real: a defect is made, and found by the doctor's own looks. A test's name, or a planted fault's.
PROVOKED = {
    Id.INTERFACE_MISSING: (_DOCTOR, "test_a_name_without_an_interface"),
    Id.INTERFACE_DOWN: (_DOCTOR, "test_an_interface_whose_other_end_is_down"),
    Id.XDP_MODE: (_DOCTOR, "test_a_program_of_somebody_else_and_one_of_ours"),
    Id.XDP_GENERIC: (_DOCTOR, "test_a_program_in_generic_mode_and_merged_packets_before_it"),
    Id.XDP_REFUSED: (_BESIDE, "test_a_driver_that_refuses_is_named_with_its_words_and_the_likely_cause"),
    Id.XDP_FOREIGN: (_DOCTOR, "test_a_program_of_somebody_else_and_one_of_ours"),
    Id.LRO_ON: (_WHOLE_HOST, "test_packets_that_a_driver_merges"),
    Id.GRO_HW_ON: (_WHOLE_HOST, "test_packets_that_a_card_merges"),
    Id.GRO_ON: (_BESIDE, "test_fix_asks_first_runs_only_what_is_safe_and_looks_again"),
    Id.CHECKSUM_UNFINISHED: (_DOCTOR, "test_unfinished_checksums_where_the_other_end_is_in_a_named_namespace"),
    Id.CHECKSUM_UNSEEN: (_BESIDE, "test_a_sound_laboratory_has_no_errors_and_both_doctors_agree"),
    Id.VLAN_OFFLOAD_ON: (_WHOLE_HOST, "test_vlan_devices_need_their_tags_left_in_the_packets"),
    Id.QUEUES_FEW: (_DOCTOR, "test_fewer_queues_than_cpus"),
    Id.MTU_TOO_LARGE: (_DOCTOR, "test_a_frame_too_large_for_native_mode"),
    Id.MTU_SHORT: (_DOCTOR, "test_no_room_for_an_outer_header_on_the_way_out"),
    Id.FORWARDING_OFF: (_DOCTOR, "test_a_host_that_does_not_forward"),
    Id.RP_FILTER_STRICT: (_DOCTOR, "test_a_strict_reverse_path_filter_with_a_default_route_elsewhere"),
    Id.BACKEND_NO_ROUTE: (_DOCTOR, "test_a_backend_without_route_and_one_that_is_this_host"),
    Id.BACKEND_UNRESOLVED: (_DOCTOR, "test_a_backend_that_does_not_answer"),
    Id.BACKEND_BEHIND_ROUTER: (_DOCTOR, "test_a_dsr_backend_behind_a_router"),
    Id.BACKEND_WAY_UNUSABLE: (_WHOLE_HOST, "test_a_way_that_the_kernel_has_and_the_datapath_cannot_use"),
    Id.ANSWERS_UNSEEN: (_DOCTOR, "test_a_backend_over_an_interface_without_the_program"),
    Id.BACKEND_DOWN: (_BESIDE, "test_backends_that_probes_refuse_are_named_with_what_these_met_while_forwarding_goes_on"),
    Id.ALL_DOWN: (_BESIDE, "test_backends_that_probes_refuse_are_named_with_what_these_met_while_forwarding_goes_on"),
    Id.BACKEND_REFUSES: (_FAULTS, "dead backend"),
    Id.BACKEND_SILENT: (_FAULTS, "silent backend"),
    Id.SNAT_PORTS_SHORT: (_FAULTS, "full port range"),
    Id.VIP_DUPLICATE: (_DOCTOR, "test_somebody_else_has_the_vip"),
    Id.VIP_IS_LOCAL: (_DOCTOR, "test_a_vip_that_is_an_address_of_this_host"),
    Id.PACKETS_DROPPED: (_BESIDE, "test_packets_that_are_dropped_while_it_looks_are_told_with_their_reason"),
    Id.KERNEL_FEATURE_MISSING: (_LOOKS, "test_this_kernel_has_every_feature_that_the_sources_use_and_one_that_no_kernel_has_is_missed"),
    Id.KERNEL_UNTRIED: (_DOCTOR, "test_a_kernel_that_calls_itself_older_than_any_that_was_tried"),
    Id.JIT_OFF: (_WHOLE_HOST, "test_programs_that_are_interpreted"),
    Id.COMPILER_MISSING: (_DOCTOR, "test_nothing_compiled_and_nothing_to_compile_with"),
    Id.BPFFS_MISSING: (_DOCTOR, "test_a_pin_directory_that_is_not_on_a_bpffs_and_mounting_one_cures_it"),
    Id.MEMORY_SHORT: (_DOCTOR, "test_maps_that_are_larger_than_this_host"),
    Id.CLOCK_UNSYNCHRONISED: (_WHOLE_HOST, "test_a_clock_that_nobody_sets"),
    Id.CLOCK_BEHIND: (_DOCTOR, "test_the_journal_tells_of_services_and_of_a_clock_that_was_ahead"),
    Id.TLS_CERTIFICATE_BAD: (_DOCTOR, "test_certificates_that_are_good_expire_soon_expired_or_belong_to_another_key"),
    Id.TLS_CERTIFICATE_EXPIRES: (_DOCTOR, "test_certificates_that_are_good_expire_soon_expired_or_belong_to_another_key"),
    Id.NOT_EXAMINED: (_DOCTOR, "test_thousands_of_silent_backends_do_not_make_anybody_wait"),
}


_UNIT = "tests/systemd/test_unit.py"
# Where the command of each safe finding is run, and the finding then gone.
FIXED = {
    Id.LRO_ON: (_WHOLE_HOST, "test_packets_that_a_driver_merges"),
    Id.GRO_HW_ON: (_WHOLE_HOST, "test_packets_that_a_card_merges"),
    Id.GRO_ON: (_BESIDE, "test_fix_asks_first_runs_only_what_is_safe_and_looks_again"),
    Id.VLAN_OFFLOAD_ON: (_WHOLE_HOST, "test_vlan_devices_need_their_tags_left_in_the_packets"),
    Id.FORWARDING_OFF: (_UNIT, "test_the_doctor_s_cure_for_forwarding_is_there_and_safe"),
    Id.BPFFS_MISSING: (_DOCTOR, "test_a_pin_directory_that_is_not_on_a_bpffs_and_mounting_one_cures_it"),
}


def told() -> Iterator[str]:
    """Reasons of warnings in the agent: the first of pairs whose second is the message."""
    for path in python_files("agent/l4lb_agent/control", "agent/l4lb_agent/api"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant):
                word, message = node.elts[0].value, node.elts[1]
                if isinstance(word, str) and re.fullmatch(r"[A-Z]+(_[A-Z]+)+", word) and not isinstance(message, ast.Constant):
                    yield word


def test_every_finding_is_there_in_the_order_of_the_list() -> None:
    assert [row[0] for row in FINDINGS] == list(Id)


@pytest.mark.parametrize("finding", Id)
def test_each_finding_is_provoked_for_real(finding: Id) -> None:
    path, name = PROVOKED[finding]
    if path == _FAULTS:
        [fault] = [one for one in FAULTS if one.name == name]
        assert any(finding in text for text in fault.told)
        return
    assert re.search(rf"\b{finding}\b", source(path, name))


def source(path: str, name: str) -> str:
    """Of one test, with what stands before it."""
    text = (ROOT / path).read_text()
    [test] = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == name]
    return "".join(ast.get_source_segment(text, node) or "" for node in (test, *test.decorator_list))


def test_each_safe_finding_is_fixed_for_real() -> None:
    assert {row[0] for row in FINDINGS if re.search(r"\bSafe\b", row[3])} == set(FIXED)
    for finding, (path, name) in FIXED.items():
        text = source(path, name)
        assert re.search(rf"\b{finding}\b", text)
        assert any(way in text for way in ("fix(host", "--fix", "--yes", "cure[0].split()")), finding


def test_what_needs_a_host_of_its_own_is_tried_in_one() -> None:
    assert _WHOLE_HOST in (ROOT / "scripts/kernel").read_text()


def test_every_state_is_there() -> None:
    rows = re.findall(r"^\| (backend|health|effective|drain) \| ([A-Z_]+) \| (.+?\.) \| (.+?\.) \|$", TEXT, re.M)
    assert [name for of, name, _, _ in rows if of == "backend"] == [state.name for state in AdminState]
    assert [name for of, name, _, _ in rows if of == "health"] == [state.name for state in State]
    assert [name for of, name, _, _ in rows if of == "effective"] == [state.name for state in EffectiveState]
    assert [name for of, name, _, _ in rows if of == "drain"] == [result.name for result in DrainResult]


def test_every_warning_is_there() -> None:
    assert {row[0] for row in WARNINGS} == set(told()) - set(Id)
    assert len(WARNINGS) > 5


@pytest.mark.parametrize("row", [*((r[0], *r[2:]) for r in FINDINGS), *WARNINGS], ids=lambda row: row[0])
def test_each_says_what_it_means_and_what_to_do(row: tuple[str, str, str]) -> None:
    assert len(row[1].split()) >= 8
    assert row[1].endswith(".")
    assert row[2].endswith((".", "?"))


def test_each_severity_is_one_that_the_code_gives() -> None:
    code = "".join(path.read_text() for path in python_files("agent/l4lb_agent/model/doctor"))
    assert {word for row in FINDINGS for word in row[1].split(", ")} <= {severity.name for severity in Severity}
    assert {name for name in Id if f"Id.{name}" not in code} == set()
