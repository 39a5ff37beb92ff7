"""`l4lb-agent`: flags and agent.toml become objects, and the agent runs until it is told to stop. The only place that knows every part.

Exit status: 0 stopped as told, the datapath goes on forwarding; 1 something failed, starting again may help; 2 starting again cannot help;
of `doctor` see there.
"""

import argparse
import asyncio
import contextlib
import logging
import secrets
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from l4lb_agent import __version__, config, doctor, telemetry
from l4lb_agent.api.around import Calls
from l4lb_agent.api.convert import record
from l4lb_agent.api.roles import Role
from l4lb_agent.api.server import ApiServer
from l4lb_agent.api.unix_socket import SocketRefused
from l4lb_agent.config import Config, ConfigError
from l4lb_agent.control import start
from l4lb_agent.control.agent import Agent
from l4lb_agent.control.host import Host
from l4lb_agent.control.ports import Doors
from l4lb_agent.control.recorder.recorder import Recorder
from l4lb_agent.control.recorder.timeline import Event
from l4lb_agent.dataplane import kernel
from l4lb_agent.dataplane.kernel import KernelDatapath
from l4lb_agent.dataplane.maps import ShapeError
from l4lb_agent.dataplane.program import CompileError, compile_or_cached
from l4lb_agent.model.config import Secrets
from l4lb_agent.model.records import RecordError
from l4lb_agent.supervision import Supervision
from l4lb_agent.survey import Survey
from l4lb_agent.system import identity, interpreter, log
from l4lb_agent.system.audit import AuditFile
from l4lb_agent.system.clock import SystemClock
from l4lb_agent.system.disk import JournalFile
from l4lb_agent.system.dumps import DumpFolder
from l4lb_agent.system.network import KernelNetwork
from l4lb_agent.system.notify import Notifier
from l4lb_agent.system.probing.passage import Passage, clear
from l4lb_agent.system.probing.prober import Prober

BPF_DIR = Path(__file__).parent / "bpf"
COMMANDS = (
    "doctor: look at the host and say what is not as it should be; detach: take program, maps and flows away; "
    "forwarding: print the kernel settings that the configured interfaces need"
)
COMPILE_SECONDS = 200.0  # that the service manager gives a start with a cold cache; the compiler has its own, shorter limit
STALL_SECONDS = 10.0  # where no service manager says how long the agent may be silent
GRACE_SECONDS = 1.0  # that running calls get when the agent stops
HOPELESS = (ConfigError, BlockingIOError, ShapeError, SocketRefused, start.JournalMissing, RecordError)

_log = logging.getLogger("l4lb_agent")


@dataclass(frozen=True)
class Opened:
    """What is open for as long as the agent runs."""

    datapath: KernelDatapath
    journal: JournalFile
    started: start.Started
    recorder: Recorder | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns the exit status."""
    flags = _flags()
    asked = flags.parse_args(arguments)
    if asked.command != "doctor" and (asked.json or asked.fix or asked.yes):
        flags.error(f"--json, --fix and --yes belong to doctor, not to {asked.command}")
    if asked.json and (asked.fix or asked.yes):
        flags.error("--json only looks: run --fix or --yes without it")
    try:
        # What is to be taken away may be older than a configuration that is gone, or broken.
        unread = asked.command == "detach" and asked.pin_dir
        settings = Config(pin_dir=asked.pin_dir) if unread else config.load(asked.config)
    except ConfigError as error:
        for line in error.errors:
            print(f"l4lb-agent: {asked.config}: {line}", file=sys.stderr)
        return 2
    if asked.command == "forwarding":
        print(*settings.forwarding_settings(), sep="\n")
        return 0
    if asked.command == "doctor":
        return doctor.run(settings, BPF_DIR, doctor.Options(asked.json, asked.fix or asked.yes, asked.yes))
    lines = log.start(settings.log_level)
    try:
        return _detach(settings) if asked.command == "detach" else _run(settings, asked.config)
    except HOPELESS as error:
        _log.error("event=refused error=%r", _words(error))
        return 2
    except (OSError, CompileError) as error:
        _log.error("event=failed error=%r", _words(error))
        return 1
    except Exception:
        _log.exception("event=crashed")
        return 1
    finally:
        lines.drain(1.0)


def _flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="l4lb-agent", description="Owns the XDP program of a layer-4 load balancer and offers its API; without a command it runs."
    )
    parser.add_argument("command", nargs="?", choices=["run", "doctor", "detach", "forwarding"], default="run", help=COMMANDS)
    parser.add_argument("--config", type=Path, default=config.DEFAULT_PATH, metavar="FILE", help=f"default {config.DEFAULT_PATH}")
    parser.add_argument("--pin-dir", type=Path, metavar="DIR", help="with detach: what is pinned there, without reading the configuration")
    parser.add_argument("--json", action="store_true", help="with doctor: one JSON object, for fleets")
    parser.add_argument("--fix", action="store_true", help="with doctor: run the commands that are safe, each after a question")
    parser.add_argument("--yes", action="store_true", help="with doctor: --fix without questions")
    parser.add_argument("--version", action="version", version=f"l4lb-agent {__version__}")
    return parser


def _words(error: BaseException) -> str:
    """The error's message; of an OSError what was attempted, without the number."""
    return str(getattr(error, "strerror", None) or error)


def _detach(settings: Config) -> int:
    pin_dir = settings.pins_here()
    interfaces = kernel.detach_all(pin_dir)
    asyncio.run(clear())
    _log.info("event=detached pin_dir=%s interfaces=%s", pin_dir, ",".join(interfaces) or "none")
    return 0


def _run(settings: Config, path: Path) -> int:
    """Compiles and loads before anything that is attached changes, then serves."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    interpreter.spare()
    _log.info("event=starting version=%s pin_dir=%s", __version__, settings.pin_dir)
    for folder in (settings.state_dir, settings.runtime_dir, settings.cache_dir):
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    notifier = Notifier()
    notifier.status("compiling and loading the program")
    notifier.extend(COMPILE_SECONDS)
    with ExitStack() as opened:
        program = compile_or_cached(BPF_DIR, settings.cache_dir)
        datapath = KernelDatapath(settings.pin_dir, settings.datapath.sizes, program)
        opened.callback(datapath.close)
        _log.info("event=loaded adopted=%s tag=%s", datapath.adopted, program.tag)
        journal = JournalFile(settings.state_dir)
        opened.callback(journal.close)
        recorder = _recorder(settings, notifier, opened)
        started = start.begin(datapath, journal, Secrets(secrets.token_bytes(16), secrets.token_bytes(16)))
        return asyncio.run(_serve(settings, path, notifier, Opened(datapath, journal, started, recorder)))


def _recorder(settings: Config, notifier: Notifier, opened: ExitStack) -> Recorder | None:
    """Remembers from now on, while `opened` is: this process has the state folder for itself."""
    if not settings.recorder.enabled:
        return None
    stall_seconds = (notifier.watchdog_seconds or STALL_SECONDS) / 2
    recorder = Recorder(SystemClock(), DumpFolder(settings.state_dir, settings.recorder.dumps), record, __version__, stall_seconds)

    def heard(line: log.Line) -> None:
        fields = line.named
        recorder.heard(Event(line.when, line.level, fields.pop("part", ""), fields.pop("event", ""), fields))

    opened.enter_context(recorder)
    opened.callback(log.listen(heard))
    return recorder


async def _serve(settings: Config, path: Path, notifier: Notifier, opened: Opened) -> int:
    """Answers, reconciles, attaches, says READY; until SIGTERM or SIGINT."""
    network = KernelNetwork()
    stopping = asyncio.Event()
    host = Host(_boot_id(), identity.kernel_release(), settings.interfaces, settings.datapath)
    # What the agent has to tell before there is anybody to tell it to is told at the first look.
    taken = lambda: sum(one.bytes for one in opened.datapath.maps())  # noqa: E731 (one expression, used once)
    examiner = Survey(settings, settings.pin_dir, BPF_DIR, network, taken)
    passage = Passage(opened.datapath.probes, settings.health)
    await passage.clear()
    agent = Agent(
        Doors(opened.datapath, network, SystemClock(), opened.journal, examiner, Prober(passage)), host, opened.started,
        lambda: supervision.changed.set(), opened.recorder,
    )  # fmt: skip
    audit = AuditFile(settings.state_dir)
    calls = Calls()
    tracing, untraced = telemetry.started(settings.tracing, __version__)
    server = ApiServer(agent, settings.doors.all, audit, version=__version__, before=(calls, *([tracing] if tracing else [])))
    server.warned.append(lambda: untraced)
    agent.recording.warned.append(server.warnings)
    await server.audit.missing(start.unaudited(opened.started.replayed, audit.told()))
    supervision = Supervision(agent, server, notifier, settings, path, opened.recorder.alive if opened.recorder else lambda: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, supervision.asked.set)
    await server.start()
    running = {
        asyncio.create_task(agent.run(), name="agent"),
        asyncio.create_task(supervision.run(), name="supervision"),
    }
    if settings.metrics.listen:
        running.add(_metrics(settings, agent, server, calls))
    told = asyncio.create_task(stopping.wait(), name="stop")
    done, _ = await asyncio.wait({told, *running}, return_when=asyncio.FIRST_COMPLETED)
    notifier.stopping()
    await server.stop(GRACE_SECONDS)
    if tracing:
        await tracing.stop()
    await agent.stop()
    for task in (told, *running):
        task.cancel()
    await asyncio.gather(told, *running, return_exceptions=True)
    network.close()
    await passage.clear()
    for task in done - {told}:
        _log.error("event=part_failed part=%s", task.get_name(), exc_info=task.exception())
        return 1
    _log.info("event=stopped forwarding=continues")
    return 0


def _metrics(settings: Config, agent: Agent, server: ApiServer, calls: Calls) -> asyncio.Task[None]:
    """Answers scrapes."""
    from l4lb_agent.metrics.endpoint import Endpoint, Source  # a tenth of a second of every start else

    door = settings.metrics
    viewer = next(socket for socket in settings.doors.sockets if socket.role is Role.VIEWER)
    source = Source(agent.measured, server.warnings, __version__, lambda: calls.ended, door.backends)
    endpoint = Endpoint(source, lambda: telemetry.bound(door.listen, viewer), door.listen)
    server.warned.append(endpoint.warnings)
    return asyncio.create_task(endpoint.run(), name="metrics")


def _boot_id() -> str:
    """Empty where /proc/sys is hidden: then only the maps, which do not outlive a boot, tell one boot from another."""
    with contextlib.suppress(OSError, ValueError):
        return identity.boot_id()
    return ""


if __name__ == "__main__":
    sys.exit(main())
