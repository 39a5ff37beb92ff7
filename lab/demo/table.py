"""What the datapath counted, as a short table."""

from l4lb.v1.reason_pb2 import Reason, Verdict
from lab.demo.stage import Stage


def path(stage: Stage) -> None:
    """Step 3: packets went out by XDP_TX; prints reasons and backends."""
    checks = stage.checks
    checks.step("what the datapath counted")
    [sample] = stage.client.stats(interval=1, samples=1)
    by_verdict: dict[int, int] = {}
    print(f"        {'reason':<22}{'verdict':<10}{'packets':>10}{'bytes':>14}")
    for row in sample.reasons:
        by_verdict[row.verdict] = by_verdict.get(row.verdict, 0) + row.packets
        reason = Reason.Name(row.reason).removeprefix("REASON_").lower()
        verdict = Verdict.Name(row.verdict).removeprefix("VERDICT_").lower()
        print(f"        {reason:<22}{verdict:<10}{row.packets:>10}{row.bytes:>14}")
    print(f"\n        {'backend':<22}{'flows':>10}{'packets in':>12}{'packets out':>12}")
    for backend in sample.backends:
        name = backend.backend.removeprefix("services/").replace("/backends/", "/")
        print(f"        {name:<22}{backend.traffic.flows:>10}{backend.traffic.packets_in:>12}{backend.traffic.packets_out:>12}")
    tx, redirect = (by_verdict.get(verdict, 0) for verdict in (Verdict.VERDICT_TX, Verdict.VERDICT_REDIRECT))
    checks.that("the path is XDP_TX, never redirect", tx > 0 and redirect == 0, f"tx {tx}, redirect {redirect}")
    aborted = by_verdict.get(Verdict.VERDICT_UNSPECIFIED, 0)
    checks.equal("packets without a reason or aborted", aborted, 0)
