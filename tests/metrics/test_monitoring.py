"""The example alerts and the dashboard: every name and label in them is exported, promtool takes and tries all of it."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from l4lb_agent.metrics import families
from l4lb_agent.model import mapspec
from l4lb_agent.model.health.outcome import Why
from l4lb_agent.model.health.state import State
from l4lb_agent.model.reasons import Reason, Verdict
from lab.install import cache_folder
from tests.law.python_rules import ROOT

FOLDER = ROOT / "monitoring"
PROMTOOL = cache_folder() / "promtool/promtool"
ALERTS = [rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
TESTS = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
OF_PROMETHEUS = {"job", "instance"}  # labels that it adds
LABELS = {family.sample: {*family.labels, *OF_PROMETHEUS} for family in families.EVERY if family.kind != "histogram"}
LABELS |= {f"{family.name}{suffix}": {*family.labels, *OF_PROMETHEUS, *more}
           for family in families.EVERY if family.kind == "histogram"
           for suffix, more in (("_bucket", {"le"}), ("_count", set()), ("_sum", set()))}  # fmt: skip
VALUES = {
    "reason": {reason.name for reason in Reason}, "verdict": {verdict.name for verdict in Verdict},
    "map": {spec.name for spec in mapspec.specs(mapspec.Sizes())}, "mode": {"native", "generic"}, "direction": {"in", "out"},
    "state": {"enabled", "draining", "drained", "disabled"} | {state.name.lower() for state in State},
    "outcome": {why.name.lower() for why in Why},
}  # fmt: skip


def promtool(*arguments: str, folder: Path = FOLDER) -> str:
    done = subprocess.run([PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    return f"{done.returncode} {done.stdout}{done.stderr}"


def wrong(expression: str) -> list[str]:
    """What of an expression is not exported: names, labels of a name, values of labels."""
    found = []
    for name, _, matchers in re.findall(r"\b(l4lb_\w+)(\{([^}]*)\})?", expression):
        if name not in LABELS:
            found.append(name)
            continue
        for label, _, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers):
            if label not in LABELS[name]:
                found.append(f"{name}{{{label}}}")
            known = VALUES.get(label) if name != "l4lb_agent_warnings" else None
            found += [f"{name}{{{label}={one}}}" for one in value.split("|") if known and one not in known]
    used = {label for name in re.findall(r"\bl4lb_\w+", expression) for label in LABELS.get(name, ())} | OF_PROMETHEUS | {"digest"}
    grouped = re.findall(r"\b(?:by|on|without|ignoring) \(([^)]*)\)", expression)
    return found + [label for group in grouped for label in group.split(", ") if label not in used]


def expressions() -> Iterator[tuple[str, str]]:
    """Title of a panel, and what it asks Prometheus, with variables as Grafana would put them in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], re.sub(r"\$\w+", "x", target["expr"].replace("$__rate_interval", "5m"))


def test_promtool_accepts_the_alerts() -> None:
    assert promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml").startswith("0 ")


def test_every_alert_fires_where_it_must_and_not_where_it_must_not() -> None:
    assert promtool("test", "rules", "alerts_test.yaml").startswith("0 ")
    tried: dict[str, set[bool]] = {}
    for test in TESTS:
        for one in test["alert_rule_test"]:
            tried.setdefault(one["alertname"], set()).add(bool(one.get("exp_alerts")))
    assert tried == {rule["alert"]: {True, False} for rule in ALERTS}


def test_a_threshold_that_is_changed_fails_its_test(tmp_path: Path) -> None:
    for name in ("alerts.yaml", "alerts_test.yaml"):
        (tmp_path / name).write_text((FOLDER / name).read_text().replace("> 0.75", "> 0.95"))
    assert promtool("test", "rules", "alerts_test.yaml", folder=tmp_path).startswith("1 ")


def test_alerts_ask_only_for_what_is_exported() -> None:
    assert {rule["alert"]: found for rule in ALERTS if (found := wrong(rule["expr"]))} == {}
    of_tests = [series["series"] for test in TESTS for series in test["input_series"]]
    assert [found for series in of_tests if (found := wrong(series))] == []


def test_the_rule_finds_what_is_not_exported() -> None:
    assert wrong('rate(l4lb_service_packets{service="x"}[5m])') == ["l4lb_service_packets"]
    assert wrong('l4lb_service_packets_total{backend="x"}') == ["l4lb_service_packets_total{backend}"]
    assert wrong('l4lb_datapath_packets_total{reason=~"NO_SERVICE|NO_SERVCE"}') == ["l4lb_datapath_packets_total{reason=NO_SERVCE}"]
    assert wrong("sum by (service, backend) (l4lb_service_active_flows)") == ["backend"]
    assert wrong('l4lb_service_probes_total{outcome="tired"}') == ["l4lb_service_probes_total{outcome=tired}"]
    assert wrong('l4lb_map_entries{map="no_such_map"}') == ["l4lb_map_entries{map=no_such_map}"]


def test_the_page_on_operations_says_of_each_alert_what_to_do() -> None:
    rows = re.findall(r"(?m)^\| `(L4lb\w+)` \| (\w+) \| (.{20,}) \| (.{20,}) \|$", (ROOT / "docs/operations.md").read_text())
    assert [(name, severity) for name, severity, _, _ in rows] == [(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS]


def test_the_dashboard_asks_only_for_what_is_exported_in_a_language_that_prometheus_speaks(tmp_path: Path) -> None:
    asked = list(expressions())
    assert len(asked) > 40
    assert [(title, found) for title, expression in asked if (found := wrong(expression))] == []
    rules = [{"record": f"panel:{number}", "expr": expression} for number, (_, expression) in enumerate(asked)]
    (tmp_path / "panels.yaml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert promtool("check", "rules", "panels.yaml", folder=tmp_path).startswith("0 ")
    for variable in DASHBOARD["templating"]["list"]:
        query = variable["query"]["query"] if isinstance(variable["query"], dict) else ""
        if query:
            name, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()  # type: ignore[union-attr]
            assert wrong(name) == [], query
            assert label in LABELS[name.partition("{")[0]], query


def test_every_family_is_on_the_dashboard() -> None:
    shown = " ".join(expression for _, expression in expressions())
    untold = {families.SERVICE.sample, families.READY.sample, families.STARTED.sample, families.SERVICE_DIGEST.sample}
    assert {family.sample for family in families.EVERY if family.name not in shown} <= untold


def test_legends_name_labels_that_are_there() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            known = {label for name in re.findall(r"\bl4lb_\w+", target["expr"]) for label in LABELS.get(name, ())}
            grouped = [set(group.split(", ")) for group in re.findall(r"\bby \(([^)]*)\)", target["expr"])]
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= (grouped[0] if grouped else known), panel["title"]


def test_panels_have_ids_of_their_own_and_do_not_lie_on_each_other() -> None:
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [(place["x"] + x, place["y"] + y) for place in (panel["gridPos"] for panel in panels)
             for x in range(place["w"]) for y in range(place["h"])]  # fmt: skip
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) == 23
