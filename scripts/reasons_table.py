# SPDX-License-Identifier: Apache-2.0
"""`python scripts/reasons_table.py docs/reasons.md` prints that file with its rows as model/explain/meanings.py of the agent has them."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "agent"))

from l4lb_agent.model.explain.meanings import MEANINGS
from l4lb_agent.model.reasons import Reason

RULE = "|---|---|---|---|\n"
ROWS = re.compile(f"(?<={re.escape(RULE)})(?:\\| \\d+ \\|.*\n)*")


def row(reason: Reason) -> str:
    """A line of the table; what is normal is emphasised."""
    happened, todo = (re.sub(r"\bNormal\b", "*Normal*", text) for text in MEANINGS[reason])
    return f"| {reason:d} | {reason.name} | {happened} | {todo} |\n"


if __name__ == "__main__":
    print(ROWS.sub(lambda _: "".join(map(row, Reason)), Path(sys.argv[1]).read_text(), count=1), end="")
