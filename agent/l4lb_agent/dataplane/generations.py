"""Pinned versions of the program: the current one is adopted or loaded, older ones go once no link runs them."""

from collections.abc import Mapping
from pathlib import Path

from l4lb_agent.dataplane import pins, syscall
from l4lb_agent.dataplane.fd import Fd
from l4lb_agent.dataplane.generation import Generation, Program


class Generations:
    """The folder PIN_DIR/generations."""

    def __init__(self, pin_dir: Path) -> None:
        self._folder = pin_dir / "generations"
        self._folder.mkdir(mode=0o750, exist_ok=True)

    def ensure(self, program: Program, maps: Mapping[str, int], adopt: bool) -> Generation:
        """The generation of `program`, adopted if it is pinned and bound to these very maps, else loaded and pinned."""
        adopted = self._open(program.tag) if adopt else None
        if adopted is not None:
            wanted = {syscall.map_info(number).id for number in (*(maps[name] for name in program.shared), adopted.tails.fileno())}
            if wanted <= syscall.prog_map_ids(adopted.program.fileno()):
                return adopted
            adopted.close()
        loaded = program.load(maps)
        pins.publish_folder(self._folder / loaded.tag, {"program": loaded.program, "tails": loaded.tails})
        return loaded

    def repin(self, generation: Generation) -> None:
        """Pin a generation again when a part of it is pinned no more."""
        where = self._folder / generation.tag
        if not (where / "program").exists() or not (where / "tails").exists():
            self._folder.mkdir(mode=0o750, exist_ok=True)
            pins.publish_folder(where, {"program": generation.program, "tails": generation.tails})

    def _open(self, tag: str) -> Generation | None:
        program, tails = (pins.open_pin(self._folder / tag / name) for name in ("program", "tails"))
        return Generation(tag, program, tails) if program and tails else None

    def program(self, program_id: int) -> Fd | None:
        """The pinned hot program with this id."""
        for path in list(self._folder.iterdir()):
            fd = pins.open_pin(path / "program")
            if fd is not None and syscall.prog_info(fd.fileno()).id == program_id:
                return fd
        return None

    def retire(self, running: set[int]) -> None:
        """Remove every generation whose program's id is not in `running`."""
        for path in list(self._folder.iterdir()):
            fd = pins.open_pin(path / "program")
            if fd is None or syscall.prog_info(fd.fileno()).id not in running:
                pins.remove(path)
