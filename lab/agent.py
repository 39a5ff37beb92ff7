"""The agent of a laboratory: started in the namespace `lb` with the identity that its unit gives it, killed, stopped, asked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

# An id of its own, without an account: nothing on the host belongs to it.
UID: Final = 47654
CAPABILITIES: Final = {"bpf": 39, "net_admin": 12, "perfmon": 38}  # names of setpriv(1), bits of linux/capability.h
_MASK: Final = sum(1 << bit for bit in CAPABILITIES.values())


@dataclass(frozen=True)
class Identity:
    """Who a process is, from /proc/PID/status: its four user and group ids, supplementary groups, capability sets, no_new_privs."""

    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    capabilities: dict[str, int]
    no_new_privileges: bool

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """Of a living process. Raises FileNotFoundError."""
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())

        def numbers(name: str) -> tuple[int, ...]:
            return tuple(int(part) for part in fields[name].split())

        sets = {name: int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        return cls(numbers("Uid"), numbers("Gid"), numbers("Groups"), sets, fields["NoNewPrivs"].strip() == "1")

    def is_unit(self) -> bool:
        """Whether it is exactly what the unit grants: not root, no groups, the three capabilities, nothing more to be had."""
        ids = set(self.uids) == {UID} and set(self.gids) == {UID} and not self.groups
        return ids and set(self.capabilities.values()) == {_MASK} and self.no_new_privileges

    def __str__(self) -> str:
        named = {bit: name for name, bit in CAPABILITIES.items()}
        sets = []
        for name, mask in self.capabilities.items():
            bits = [bit for bit in range(64) if mask >> bit & 1]
            sets.append(f"{name}={'+'.join(f'CAP_{named[bit].upper()}' if bit in named else str(bit) for bit in bits) or 'none'}")
        return f"uid {self.uids[0]}, gid {self.gids[0]}, NoNewPrivs={int(self.no_new_privileges)}, {', '.join(sets)}"


def unprivileged(argv: list[str]) -> list[str]:
    """The command that runs `argv` as the unit would."""
    plus = ",".join(["-all", *(f"+{name}" for name in CAPABILITIES)])
    ids = [f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    return ["setpriv", *ids, f"--inh-caps={plus}", f"--ambient-caps={plus}", f"--bounding-set={plus}", "--no-new-privs", "--", *argv]
