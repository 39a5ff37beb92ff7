"""A second instance of the datapath's programs, to be asked what the first would do with a frame. It leaves no trace.

    twin = Twin(program, specs, maps)             # nothing is loaded yet
    answer = twin.ask(ifindex, frame)             # observed.Answer: verdict, frame, reason, interface of a redirect, drawn, steady
    twin.close()

The instance is the same bytecode, all tails included, bound to the live control maps, which it only reads, and to private hash maps in
the place of every map that a program writes. They have the same keys, so that hashes, masks and ids are those of the live program, but
hold only what one frame needs: a second set of the programs, which also writes down what it looks up (steps.py), runs the frame again and
again, and what it has missed is copied from the live maps, until it misses nothing. Then the programs as they are run the frame once. What
they count, claim, spend and remember stays in the private maps and is deleted with the answer. Nothing in here knows what the programs
look up, or by which hash.

An answer holds for the instant it was given in. `steady` says whether nothing that it depends on changed meanwhile, after a few attempts.
A flow that begins may get a SNAT address and port that are drawn from the second, among others: `drawn`. What a CPU may still send by its
own budget (RST, ICMP, captures) is that of the CPU that the question ran on.

Memory, taken with the first question: 1.5 MB, and 16 KB for each CPU. That is the programs twice, and a private map of at most 64 elements
in the place of each that is written, whatever the sizes of the live ones.
"""

import ctypes
import errno
import mmap
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final

from l4lb_agent.dataplane import steps, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.generation import Generation, Program
from l4lb_agent.dataplane.info import Run
from l4lb_agent.dataplane.maps import cpus
from l4lb_agent.model import layout
from l4lb_agent.model.frames import source_port
from l4lb_agent.model.mapspec import MapSpec, MapType
from l4lb_agent.model.observed import Answer
from l4lb_agent.model.reasons import VERDICTS, Reason, Verdict
from l4lb_agent.model.tables import array_key

SHORTEST_FRAME: Final = 14
LONGEST_FRAME: Final = 3520  # in a page beside headroom and tail
_ATTEMPTS: Final = 4
_ELEMENTS: Final = {MapType.HASH: 64, MapType.PERCPU_HASH: 16}  # of a private map
_PRIVATE: Final = {MapType.ARRAY: MapType.HASH, MapType.PERCPU_ARRAY: MapType.PERCPU_HASH}
_PASSING: Final = frozenset({"pool", "spare"})  # which record is the next: no frame's fate, and another with every flow
_SNAT: Final = "snat"
_COUNTED: Final = "reason_counters"
Place = tuple[str, bytes]  # a map and a key


@dataclass
class _Loaded:
    """Both sets of programs, what they write, and the elements that are in it now."""

    plain: Generation
    noting: Generation
    steps: Fd
    private: Mapping[str, Fd]
    filled: set[Place] = field(default_factory=set)

    def close(self) -> None:
        """Give everything back to the kernel."""
        self.plain.close()
        self.noting.close()
        for fd in (self.steps, *self.private.values()):
            fd.close()

    def fill(self, known: Mapping[Place, bytes | None]) -> None:
        """Put into the private maps what the live ones held when they were read. Nothing else is in them."""
        for (name, key), value in known.items():
            if value is not None:
                syscall.map_update(self.private[name].fileno(), key, value)
                self.filled.add((name, key))

    def empty(self) -> None:
        """Take everything out of them."""
        for name, key in self.filled:
            syscall.map_delete(self.private[name].fileno(), key)
        self.filled.clear()

    def follow(self, ifindex: int, frame: bytes) -> tuple[Run, list[tuple[int, int]]]:
        """Run the set that writes down its steps."""
        syscall.map_update(self.steps.fileno(), array_key(0), bytes(steps.STEPS_BYTES))
        run = syscall.prog_test_run(self.noting.program.fileno(), frame, ifindex=ifindex)
        try:
            return run, steps.read(syscall.map_lookup(self.steps.fileno(), array_key(0), steps.STEPS_BYTES) or b"")
        except OverflowError as error:
            raise OSError(errno.E2BIG, str(error)) from error

    def counted(self, known: Mapping[Place, bytes | None]) -> int | None:
        """Index in `reason_counters` of how the last frame ended; None when its element had not been copied."""
        for (name, key), before in known.items():
            if name == _COUNTED and before and syscall.map_lookup(self.private[name].fileno(), key, len(before)) != before:
                return int.from_bytes(key, "little")
        return None


class Twin:
    """Asks the programs of `program` what they do with frames, in the state of the live `maps`, descriptors by name, which live longer than
    this. Questions may come from any thread; they are answered one after the other."""

    def __init__(self, program: Program, specs: Mapping[str, MapSpec], maps: Mapping[str, int]) -> None:
        self._program, self._specs, self._maps = program, specs, maps
        self._written = {name: spec for name, spec in specs.items() if not spec.control}
        self._numbers = {name: number for number, name in enumerate([_SNAT, *self._written], start=1)}
        self._names = {number: name for name, number in self._numbers.items()}
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    def ask(self, ifindex: int, frame: bytes) -> Answer:
        """What the programs do with an Ethernet frame that an interface of this network namespace receives, now. Loads the programs when it
        is the first question, which takes a second or two.

        Raises ValueError for a frame that is too short or too long, OSError when there is no such interface (ENODEV), when the programs
        cannot be loaded or followed, and (EAGAIN) when what they look at changes faster than it can be copied."""
        if not SHORTEST_FRAME <= len(frame) <= LONGEST_FRAME:
            raise ValueError(f"a frame of {len(frame)} bytes cannot be asked about: it has {SHORTEST_FRAME} to {LONGEST_FRAME}")
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            found: Answer | None = None
            for _ in range(_ATTEMPTS):
                known: dict[Place, bytes | None] = {}
                try:
                    found = self._answer(self._loaded, ifindex, frame, known) or found
                finally:
                    self._loaded.empty()
                if found and all(self._live(place) == value for place, value in known.items() if self._lasts(place)):
                    return found
        if found is None:
            raise OSError(errno.EAGAIN, "what the datapath looks at changes faster than it can be asked: ask again")
        return replace(found, steady=False)

    def close(self) -> None:
        """Unload. The next question loads again."""
        with self._lock:
            if self._loaded:
                self._loaded.close()
            self._loaded = None

    def _load(self) -> _Loaded:
        with ExitStack() as undo:
            private = {name: undo.enter_context(Fd(_private(name, spec))) for name, spec in self._written.items()}
            written = undo.enter_context(Fd(syscall.map_create(MapType.ARRAY, 4, steps.STEPS_BYTES, 1, 0, steps.STEPS_MAP)))
            bound = {**self._maps, **{name: fd.fileno() for name, fd in private.items()}, steps.STEPS_MAP: written.fileno()}
            plain = self._program.load(bound)
            undo.callback(plain.close)
            try:
                noting = self._program.load_with_steps(bound, self._numbers)
            except ValueError as error:
                raise OSError(errno.EOPNOTSUPP, f"the datapath's programs cannot be followed: {error}") from error
            undo.pop_all()
        return _Loaded(plain, noting, written, private)

    def _answer(self, at: _Loaded, ifindex: int, frame: bytes, known: dict[Place, bytes | None]) -> Answer | None:
        """None when the clock, or what the live maps hold, has led both sets of programs different ways. Adds what it copies to `known`."""
        while True:
            at.fill(known)
            followed, taken = at.follow(ifindex, frame)
            names = [self._names.get(what) for what, _ in taken]
            missed = {(name, array_key(key)) for name, (_, key) in zip(names, taken) if name not in (None, _SNAT)} - known.keys()
            if not missed:
                break
            known.update((place, self._live(place)) for place in missed)
        at.fill(known)
        run = syscall.prog_test_run(at.plain.program.fileno(), frame, ifindex=ifindex)
        outcome = at.counted(known)
        if (run.retval, run.data) != (followed.retval, followed.data) or outcome is None:
            return None
        verdict = Verdict(run.retval)
        out = next((key for what, key in reversed(taken) if what == steps.REDIRECT), None) if verdict is Verdict.REDIRECT else None
        reason = Reason(outcome // VERDICTS)
        tries = names.count(_SNAT) - (reason is not Reason.NO_SOURCE_PORT)  # before a search one address is looked at for its bucket
        return Answer(verdict, run.data, reason, out, self._drawn(frame, run.data, max(0, tries)))

    def _drawn(self, frame: bytes, out: bytes, tries: int) -> bool:
        """Whether the second had a say in the SNAT address or port, after so many tries for one."""
        config = layout.Config.from_buffer_copy(self._live(("config", array_key(0))) or bytes(ctypes.sizeof(layout.Config)))
        single = max(config.snat_v4, config.snat_v6) == 1
        kept = source_port(frame) is not None and source_port(frame) == source_port(out)
        return bool(tries) and not (tries == 1 and single and kept)

    def _lasts(self, place: Place) -> bool:
        """Whether what is there says anything of the next frame like this one: counters do not."""
        return self._specs[place[0]].type is not MapType.PERCPU_ARRAY and place[0] not in _PASSING

    def _live(self, place: Place) -> bytes | None:
        spec = self._specs[place[0]]
        size = (spec.value_size + 7) // 8 * 8 * cpus() if spec.type is MapType.PERCPU_ARRAY else spec.value_size
        return syscall.map_lookup(self._maps[place[0]], place[1], size)


def _private(name: str, spec: MapSpec) -> int:
    """A new map that a program cannot tell from the live one."""
    if spec.type is MapType.RINGBUF:
        return syscall.map_create(spec.type, 0, 0, mmap.PAGESIZE, 0, name)
    kind = _PRIVATE[spec.type]
    return syscall.map_create(kind, spec.key_size, spec.value_size, _ELEMENTS[kind], 0, name)
