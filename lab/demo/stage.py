"""What the steps of the demo share: a balanced laboratory, and what has been checked and counted so far."""

from dataclasses import dataclass, field
from typing import Any

from lab.check import Checks
from lab.services import Balanced


@dataclass
class Stage(Balanced):
    """One run of the demo."""

    checks: Checks
    requests: int = 0  # that were to succeed: HTTP requests, downloads, echoed messages, UDP probes
    failed: int = 0
    summary: dict[str, str] = field(default_factory=lambda: {"shares": "none", "drain": "none", "kills": "none"})

    def count(self, result: dict[str, Any], what: str) -> dict[str, Any]:
        """Count a generator's result, and check that nothing in it failed."""
        requests = result.get("requests", 1)
        self.requests += requests
        self.failed += result["failed"]
        self.checks.that(f"no failure among {requests} {what}", result["failed"] == 0, result["errors"] or "")
        return result
