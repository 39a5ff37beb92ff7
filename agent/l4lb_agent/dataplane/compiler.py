"""Compiles the datapath with BCC: `python -m l4lb_agent.dataplane.compiler SOURCES OUTPUT`, always as a process of its own.

BCC changes the process's working directory while it compiles, writes diagnostics to C's stderr and keeps 50 MB afterwards; none of that
may happen in the agent. The output is JSON (see `compile_file`); diagnostics go to stderr; exit status 1 when BCC refuses.
"""

import base64
import ctypes
import json
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

FLAGS: Final = ("-Wall", "-Wextra", "-fno-builtin-index")  # `index` is a map here, not the function of <strings.h>
PROGRAMS: Final = ("xdp_l4lb", "icmp", "odd", "later", "nat_new", "nat_port", "tags", "answer", "capture", "sweep", "probe")
_LOAD_64: Final = 0x18
_PSEUDO_MAP_FD: Final = 1


def relocate(code: bytes, names: dict[int, str]) -> tuple[bytes, list[tuple[int, str]]]:
    """The instructions with every map descriptor zeroed, and (offset, map name) of each place. `names` are by descriptor."""
    raw, places, offset = bytearray(code), [], 0
    while offset < len(raw):
        opcode, registers, _, immediate = struct.unpack_from("<BBhi", raw, offset)
        if opcode == _LOAD_64 and registers >> 4 == _PSEUDO_MAP_FD:
            places.append((offset, names[immediate]))
            struct.pack_into("<i", raw, offset + 4, 0)
        offset += 16 if opcode == _LOAD_64 else 8
    return bytes(raw), places


def compile_sources(sources: Path) -> dict[str, Any]:
    """The datapath in the folder `sources`: see `compile_file`."""
    return compile_file(sources / "l4lb.c", sources, PROGRAMS)


def compile_file(source: Path, headers: Path, wanted: Iterable[str]) -> dict[str, Any]:
    """Programs {name: {"code": base64, "relocations": [[offset, map]]}} and maps {name: [type, key bytes, value bytes]} of one file, with
    the headers of the folder `headers`. Raises Exception as BCC does; needs CAP_BPF, since BCC creates the maps (one element each)."""
    os.environ["BCC_KERNEL_SOURCE"] = str(headers / "stubs")  # read by BCC's C code: no kernel headers are needed
    from bcc import BPF, lib

    module = BPF(src_file=os.fsencode(source), cflags=[f"-I{headers}", *FLAGS])
    handle = ctypes.c_void_p(module.module)
    lib.bpf_table_name.restype = ctypes.c_char_p  # BCC's own binding does not declare it
    tables = [(lib.bpf_table_name(handle, ctypes.c_size_t(i)).decode(), i) for i in range(lib.bpf_num_tables(handle))]
    names = {lib.bpf_table_fd_id(handle, ctypes.c_size_t(i)): name for name, i in tables}
    maps = {
        name: [lib.bpf_table_type_id(handle, i), lib.bpf_table_key_size_id(handle, i), lib.bpf_table_leaf_size_id(handle, i)]
        for name, i in tables
    }
    programs = {}
    for name in wanted:
        code, places = relocate(module.dump_func(name.encode()), names)
        programs[name] = {"code": base64.b64encode(code).decode(), "relocations": places}
    return {"programs": programs, "maps": maps}


def main(sources: str, output: str) -> int:
    """Compile and write; returns the exit status."""
    try:
        result = compile_sources(Path(sources).resolve())
    except Exception as error:  # BCC raises plain Exception; clang's own words are on stderr already
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    Path(output).write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
