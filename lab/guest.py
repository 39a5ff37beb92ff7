"""Runs pytest of this checkout on another kernel: Debian's own, booted in a machine emulated by QEMU.

The machine's root is an initramfs of two archives: a large one with files of this machine's own packages (Python, BCC, iproute2), of the
virtual environment, the laboratory's nginx and the kernel's modules, kept in the cache and made again only when one of them changes, and a
small one with the checkout, the copy of it that agents run, and the datapath's bytecode. Emulation (TCG) is some twenty times slower than
the machine itself, and needs no KVM; for its network card it needs /dev/net/tun, which mostly is root's.
"""

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from l4lb_agent.dataplane import program
from lab import install
from lab.cpio import Archive

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("python3-bpfcc", "iproute2", "ethtool", "mount", "util-linux", "coreutils", "dash")
TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout", "hypothesis", "scapy")  # and what requirements/run.in names
MODULES = (  # in the order of their dependencies
    "net/llc/llc.ko", "net/802/stp.ko", "net/bridge/bridge.ko", "drivers/net/veth.ko", "net/ipv4/tunnel4.ko", "net/ipv4/ip_tunnel.ko",
    "net/ipv4/ipip.ko", "net/ipv6/sit.ko", "net/ipv6/tunnel6.ko", "net/ipv6/ip6_tunnel.ko", "net/ipv4/udp_tunnel.ko",
    "net/ipv6/ip6_udp_tunnel.ko", "net/ipv4/fou.ko", "net/ipv6/fou6.ko", "net/802/garp.ko", "net/802/mrp.ko", "net/8021q/8021q.ko",
    "drivers/net/team/team.ko", "drivers/virtio/virtio_ring.ko", "drivers/virtio/virtio.ko", "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko", "drivers/virtio/virtio_pci.ko", "net/core/failover.ko", "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
)  # fmt: skip
SOURCES = ("agent", "bpf", "clients/python", "lab", "tests", "bench", "proto", "pyproject.toml")
CHECKOUT = "l4lb"  # where the checkout lies in the guest, from its root
CACHE = "var/cache/l4lb"
BYTECODE = f"{CACHE}/lab-programs"  # where agents of laboratories look for it
LEFT_OUT = re.compile(
    r"/usr/share/(doc|man|locale|info|lintian|bug|doc-base|bash-completion|zsh|perl5?|bcc|menu|common-licenses|applications)(/|$)"
    r"|/usr/lib/x86_64-linux-gnu/(gconv|perl-base)/|/__pycache__/.*\.opt-|/scapy/contrib/|^/(var|boot|dev|proc|sys|run|tmp)(/|$)"
)
SKIPPED_PACKAGES = frozenset({"dpkg", "debconf", "tar", "perl-base", "libdb5.3", "media-types", "libpam-runtime", "login", "passwd"})
# A network card that can merge packets: with a TAP device, in a network namespace that goes away with the machine.
CARD = ("-netdev", "tap,id=card,ifname=l4lb-card,script=no,downscript=no", "-device", "virtio-net-pci,netdev=card,romfile=")
CONSOLE = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"
ETC = {
    "passwd": "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
}


class GuestError(Exception):
    """The guest could not be built, did not boot, or did not end in time."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package."""

    directory: Path

    @property
    def image(self) -> Path:
        """The bootable file."""
        return next(self.directory.glob("boot/vmlinuz-*"))

    @property
    def modules(self) -> tuple[Path, ...]:
        """The files of MODULES."""
        tree = next(self.directory.glob("lib/modules/*/kernel"))
        return tuple(tree / module for module in MODULES)


def closure(names: Iterable[str]) -> tuple[str, ...]:
    """The installed packages that `names` need, sorted, without those that only installing needs."""
    query = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}\t${Package}\t${Pre-Depends}, ${Depends}\t${Provides}\n"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    needs: dict[str, str] = {}
    provided: dict[str, str] = {}
    for line in query.stdout.splitlines():
        status, name, depends, provides = line.split("\t")
        if status.startswith("ii"):
            needs[name] = depends
            provided.update({re.split(r"[ :(]", virtual.strip())[0]: name for virtual in provides.split(",") if virtual.strip()})
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        name = name if name in needs else provided.get(name, "")
        if not name or name in found or name in SKIPPED_PACKAGES:
            continue
        found.add(name)
        waiting += [re.split(r"[ :(]", choice.strip())[0] for choice in re.split(r"[,|]", needs[name])]
    if missing := [name for name in names if name not in found]:
        raise GuestError(f"not installed: {' '.join(missing)}")
    return tuple(sorted(found))


def package_files(names: Sequence[str]) -> Iterator[Path]:
    """Files of the packages that exist here (dpkg may have been told to leave some out), with the bytecode beside Python files."""
    listed = subprocess.run(["dpkg-query", "-L", *names], check=True, capture_output=True, text=True).stdout
    for path in map(Path, sorted(set(listed.split("\n")))):
        if not path.is_absolute() or LEFT_OUT.search(str(path)) or not os.path.lexists(path):
            continue
        yield path
        if path.suffix == ".py":
            yield from path.parent.glob(f"__pycache__/{path.stem}.cpython-*[0-9].pyc")


def needed() -> list[str]:
    """The distributions that agent, client and tests import."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements/run.in").read_text().splitlines())
    return [*TOOLS, *(Requirement(line).name for line in lines if line)]


def distribution_files(names: Iterable[str]) -> Iterator[Path]:
    """Files in the virtual environment of the distributions `names` and of all that they require."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        distribution = metadata.distribution(name)
        yield from (Path(str(file.locate())) for file in distribution.files or ())
        required = map(Requirement, distribution.requires or ())
        waiting += [one.name for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    yield from (Path(sys.prefix, name) for name in ("pyvenv.cfg", "bin/python", "bin/python3"))


def in_root(path: Path) -> str:
    """Name of a file of this machine in the guest, with links in its folders resolved (/lib is a link to /usr/lib)."""
    return os.path.join(os.path.realpath(path.parent), path.name).lstrip("/")


def copy_tree(archive: Archive, top: Path, name: str) -> None:
    """All below `top`."""
    for path in (top, *sorted(top.rglob("*"))):
        archive.copy(path, f"{name}/{path.relative_to(top)}".removesuffix("/."))


def write_system(out: Path, packages: Sequence[str], kernel: Kernel) -> None:
    """Writes the large archive: everything but the checkout."""
    with out.open("wb") as file:
        archive = Archive(file)
        for name in ("bin", "sbin", "lib", "lib64"):
            archive.copy(Path("/", name), name)
        for path in (*package_files(packages), Path("/etc/ld.so.cache"), *distribution_files(needed())):
            if os.path.lexists(path) and not LEFT_OUT.search(str(path).removeprefix(sys.prefix)):
                archive.copy(path, in_root(path))
        for name, text in ETC.items():
            archive.file(f"etc/{name}", text.encode())
        for module in kernel.modules:
            archive.copy(module, f"guest/{module.name}")
        copy_tree(archive, install.cache_folder() / "nginx/usr/sbin", f"{CACHE}/nginx/usr/sbin")
        archive.device("dev/console", 5, 1)
        archive.file("init", (ROOT / "lab/guest_init.py").read_bytes(), 0o755)
        archive.close()


def system_archive(cache: Path, kernel: Kernel) -> Path:
    """The large archive out of the cache, made when something in it has changed."""
    packages = closure(PACKAGES)
    versions = subprocess.run(["dpkg-query", "-W", *packages], check=True, capture_output=True, text=True).stdout
    code = b"".join((ROOT / name).read_bytes() for name in ("lab/guest.py", "lab/cpio.py", "lab/guest_init.py", "requirements/run.in"))
    key = hashlib.sha256("\n".join((versions, sys.prefix, kernel.directory.name)).encode() + code).hexdigest()[:12]
    archive = cache / f"system-{kernel.directory.name}-{key}.cpio"
    if not archive.exists():
        for old in cache.glob(f"system-{kernel.directory.name}-*"):
            old.unlink()
        part = archive.with_suffix(f".{os.getpid()}")
        write_system(part, packages, kernel)
        part.rename(archive)
    return archive


def append_checkout(out: Path, checkout: Path, bytecode: Path, job: dict[str, object]) -> None:
    """Appends the small archive: the copy of the checkout, that which agents run, the datapath's bytecode and what is to be run."""
    with out.open("ab") as file:
        archive = Archive(file)
        app = install.installed(ROOT, install.cache_folder())
        for folder, name in ((checkout, CHECKOUT), (app, f"{CACHE}/{app.name}"), (bytecode, BYTECODE)):
            copy_tree(archive, folder, name)
        archive.file("guest/job.json", json.dumps(job).encode())
        archive.close()


def die_with_parent() -> None:
    """prctl(PR_SET_PDEATHSIG): the machine is switched off when this process goes, however it goes."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def boot(image: Path, root: Path, scratch: Path, limit: float, memory: int) -> dict[str, object]:
    """Boots, passes the job's output on to stdout, and returns its result; GuestError when there is none after `limit` seconds."""
    log, outcome = scratch / "kernel.log", scratch / "result.json"
    # A CPU with rdrand: without it the kernel has no random numbers yet when the first process, Python, asks for some.
    alone = ["unshare", *(["--map-root-user"] if os.geteuid() else []), "--net"]
    command = [*alone, "qemu-system-x86_64", "-M", "pc", "-cpu", "max", "-m", str(memory), "-smp", "2", "-accel", "tcg,thread=multi"]
    command += ["-nodefaults", "-display", "none", "-no-reboot", "-kernel", str(image), "-initrd", str(root), "-append", CONSOLE]
    command += [*CARD, "-serial", f"file:{log}", "-serial", "stdio", "-serial", f"file:{outcome}"]
    machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
    timer = threading.Timer(limit, machine.kill)
    timer.start()
    try:
        assert machine.stdout is not None
        while data := machine.stdout.read1(4096):  # type: ignore[attr-defined]
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        machine.wait()
    finally:
        timer.cancel()
        machine.kill()
        machine.wait()
    with contextlib.suppress(ValueError, OSError):
        return dict(json.loads(outcome.read_text()))
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:]) if log.exists() else "no kernel log"
    raise GuestError(f"the machine ended without a result (limit {limit:.0f} s); the end of its log:\n{tail}")


def run(kernel: Kernel, cache: Path, arguments: Sequence[str], limit: float, memory: int) -> int:
    """Runs `python ARGUMENTS` from the checkout in the guest, prints the kernel's name, and returns its exit status."""
    system = system_archive(cache, kernel)
    path = os.pathsep.join(f"/{CHECKOUT}/{part}" for part in ("agent", "clients/python", ""))
    environment = {"PATH": "/usr/sbin:/usr/bin", "HOME": "/root", "PYTHONPATH": path, "LANG": "C.UTF-8", "TERM": "dumb"}
    environment["L4LB_BYTECODE"] = f"/{BYTECODE}"
    job: dict[str, object] = {
        "modules": [f"/guest/{module.name}" for module in kernel.modules],
        "command": [f"{os.path.realpath(sys.prefix)}/bin/python", *arguments],
        "cwd": f"/{CHECKOUT}",
        "environment": environment,
    }
    with tempfile.TemporaryDirectory(prefix="run-", dir=cache) as name:
        scratch = Path(name)
        root, checkout, programs = scratch / "root.cpio", scratch / "checkout", scratch / "bytecode"
        programs.mkdir()
        tests = [word for word in arguments if (ROOT / word.partition("::")[0]).exists()]
        install.precompiled(ROOT, SOURCES, checkout, tests, Path("/", CHECKOUT))
        install.bytecode(install.cache_folder(), programs)  # it depends on no kernel, and there it would take minutes
        shutil.copyfile(system, root)
        append_checkout(root, checkout, programs, job)
        result = boot(kernel.image, root, scratch, limit, memory)
    print(f"guest: {result['uname']}", flush=True)
    if "exit" not in result:
        raise GuestError(f"the guest could not run the command: {result.get('error')}")
    return int(str(result["exit"]))


def main() -> int:
    """Command line of scripts/kernel. Exit status: that of the command in the guest, or 2 when there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kernel", type=Path, help="folder with an unpacked linux-image package")
    parser.add_argument("cache", type=Path)
    parser.add_argument("--limit", type=float, default=900, help="seconds after which the machine is switched off")
    parser.add_argument("--memory", type=int, default=2048, help="MiB")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of python in the guest")
    options = parser.parse_args()
    try:
        return run(Kernel(options.kernel), options.cache, options.arguments, options.limit, options.memory)
    except (GuestError, program.CompileError) as error:
        print(f"guest: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
