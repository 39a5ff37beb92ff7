"""What the steps of the demo share: a balanced laboratory, and what has been checked and counted so far."""

from dataclasses import dataclass
from typing import Any

from lab.check import Checks
from lab.services import Balanced


@dataclass
class Score:
    """What the last line says."""

    requests: int = 0  # that were to succeed: HTTP requests, downloads, echoed messages, UDP probes
    failed: int = 0
    shares: str = "none"
    drain: str = "none"
    kills: str = "none"
    direct: str = ""  # of modes whose backends answer directly: what the load balancer sent during downloads

    def __str__(self) -> str:
        held = f"demo: requests={self.requests} failed={self.failed} shares={self.shares} drain={self.drain} kills={self.kills}"
        return f"{held} direct={self.direct}" if self.direct else held


@dataclass
class Stage(Balanced):
    """One run of the demo."""

    checks: Checks
    score: Score

    def count(self, result: dict[str, Any], what: str) -> dict[str, Any]:
        """Count a generator's result, and check that nothing in it failed."""
        requests = result.get("requests", 1)
        self.score.requests += requests
        self.score.failed += result["failed"]
        self.checks.that(f"no failure among {requests} {what}", result["failed"] == 0, result["errors"] or "")
        return result
