"""Plays the faults and prints what was typed and answered: `python -m lab.faults --help`."""

import argparse
import sys

from lab import interrupt
from lab.faults.planted import FAULTS
from lab.faults.play import play


def main() -> int:
    """Run it. Exit code 0 when each cause was found and cured; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description="Faults planted in a laboratory, each found with two commands.")
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"only these: {', '.join(fault.name for fault in FAULTS)}")
    asked = parser.parse_args()
    if unknown := set(asked.only) - {fault.name for fault in FAULTS}:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}")
    interrupt.once()
    failed = 0
    try:
        for fault in FAULTS:
            if asked.only and fault.name not in asked.only:
                continue
            print(f"\n## {fault.name}\n\nSymptom: {fault.symptom}.\n", flush=True)
            played = play(fault)
            print("\n".join(played.transcript))
            failed += bool(played.missing)
            for missing in played.missing:
                print(f"FAIL  {missing}", flush=True)
    except KeyboardInterrupt:
        print("\nfaults: interrupted, everything is removed", flush=True)
        return 130
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
