"""A Debian 12 with a real systemd, booted by systemd-nspawn in the namespace `lb` of a laboratory.

Its root is an overlay in a mount namespace of its own: whatever happens, it is gone with the container's processes, and those end with the
laboratory's namespaces.
"""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lab import install
from lab.laboratory import Laboratory
from lab.netns import FOLDER

ROOT = Path(__file__).parents[2]
SECONDS = 60.0  # a guard for everything that is waited for, never a speed
_STOP = signal.SIGRTMIN + 4  # systemd as process 1 powers off, systemd(1)
_BOOT = """
set -e
mount --make-rprivate /
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o size=2g,mode=0755 tmpfs {run}
mkdir {run}/upper {run}/work {run}/root
mount -t overlay overlay -o lowerdir={lower},upperdir={run}/upper,workdir={run}/work {run}/root
rm -f {run}/root/etc/machine-id
systemd-id128 new > {run}/root/etc/machine-id 2> /dev/null || tr -d - < /proc/sys/kernel/random/uuid > {run}/root/etc/machine-id
mkdir -p {run}/root/opt/cache {run}/root/opt/l4lb {run}/root/opt/archives
# A control group of its own in each hierarchy that systemd uses, so that machines do not meet, and removed in the end.
groups=
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    if [ -e $hierarchy/cgroup.procs ]; then
        mkdir $hierarchy/{name}
        echo $$ > $hierarchy/{name}/cgroup.procs
        groups="$groups $hierarchy/{name}"
    fi
done
{nspawn} || true
for group in $groups; do
    echo $$ > $group/../cgroup.procs
    find $group -depth -type d -exec rmdir {{}} +
done
"""


def wait(condition: object, what: str, seconds: float = SECONDS) -> None:
    """Returns when `condition()` is true; an AssertionError with `what` when it never is."""
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, what
        time.sleep(0.05)


class Machine:
    """One booted container. `layers` are folders below $L4LB_CACHE/machine, the uppermost first."""

    def __init__(self, lab: Laboratory, layers: Sequence[str] = ("ready", "clean")) -> None:
        base = install.cache_folder() / "machine"
        site = Path(_output([str(ROOT / "scripts/environment")]).strip())
        run = lab.run.path / "machine"
        run.mkdir()
        self.log_file = lab.run.path / "machine.log"
        libraries = ":".join(str(base / "clean" / part) for part in ("usr/lib/x86_64-linux-gnu/systemd", "usr/lib/x86_64-linux-gnu"))
        # The container's own nspawn with the container's own libraries: nothing of systemd need be installed on this host.
        nspawn = [
            str(base / "clean/usr/lib64/ld-linux-x86-64.so.2"), "--library-path", libraries, str(base / "clean/usr/bin/systemd-nspawn"),
            "-q", "--register=no", "--keep-unit", "-M", f"l4lb-{lab.id}", "-D", str(run / "root"), "--capability=all",
            f"--network-namespace-path={FOLDER / lab.namespace('lb')}", "--system-call-filter=bpf @keyring perf_event_open",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe",
            f"--bind-ro={ROOT}:/opt/l4lb", f"--bind-ro={site}:/opt/cache/{site.name}", f"--bind-ro={base / 'archives'}:/opt/archives",
            "-b", "--", "--unit=basic.target",
        ]  # fmt: skip
        script = _BOOT.format(
            run=run, name=f"l4lb-{lab.id}", lower=":".join(str(base / layer) for layer in layers), nspawn=shlex.join(nspawn)
        )
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"},
            )  # fmt: skip
        self.leader = 0
        wait(self._booted, "the container does not boot")
        # The kernel's own file system, as systemd mounts it on a host but not in a container.
        self.run("sh", "-c", "mkdir -p /sys/fs/bpf && mount -t bpf -o mode=700 bpf /sys/fs/bpf")

    def _booted(self) -> bool:
        assert self._process.poll() is None, f"the container ended: {self.log_file.read_text()}"
        if not self.leader:
            shells = _children(self._process.pid)  # the script's, among them nspawn
            self.leader = next((pid for shell in shells for pid in _children(shell) if _name(pid) == "systemd"), 0)
            return False
        return self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")

    def command(self, *argv: str, **environment: str) -> list[str]:
        """The command that runs `argv` inside, as root. -r: in a chroot the namespace begins above the container."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"} | environment
        variables = [f"{name}={value}" for name, value in environment.items()]
        return ["nsenter", "-t", str(self.leader), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "--", "env", "-i", *variables, *argv]

    def run(self, *argv: str, check: bool = True, **environment: str) -> str:
        """Runs `argv` inside to its end; its standard output. With `check`, a failure is an AssertionError with what it said."""
        done = subprocess.run(self.command(*argv, **environment), capture_output=True, text=True, timeout=300, check=False)
        assert not check or done.returncode == 0, f"{shlex.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def path(self, inside: str) -> Path:
        """A file of the container, as this process reaches it."""
        return Path(f"/proc/{self.leader}/root") / inside.lstrip("/")

    def files(self) -> set[str]:
        """Everything that is in the file systems that the system itself keeps, but for what it writes by itself all the time."""
        folders = ("/etc", "/usr", "/var", "/run", "/sys/fs/bpf")
        found = self.run("find", *folders, "-xdev", "-not", "-path", "/run/systemd/*", "-not", "-path", "/var/log/*", "-not", "-name", "*-")
        return set(found.splitlines())

    def outer(self, inside: int) -> int:
        """The id out here of the container's process `inside` (NSpid in proc(5))."""
        namespace = os.readlink(f"/proc/{self.leader}/ns/pid")
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.readlink(entry / "ns/pid") == namespace:
                    ids = re.search(r"^NSpid:\t(.*)$", (entry / "status").read_text(), re.MULTILINE)
                    if ids and int(ids[1].split()[-1]) == inside:
                        return int(entry.name)
            except OSError:  # it ended meanwhile
                continue
        raise AssertionError(f"no process {inside} in the container")

    def close(self) -> None:
        """Powers off; whatever does not end is ended."""
        if self._process.poll() is None and self.leader:
            try:
                os.kill(self.leader, _STOP)
                self._process.wait(15)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        if self._process.poll() is None:
            os.kill(self.leader or self._process.pid, signal.SIGKILL)
            self._process.wait(15)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it ended meanwhile
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _output(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
