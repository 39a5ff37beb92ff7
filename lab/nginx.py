"""nginx of a backend: one master and one worker in the backend's namespace, everything it writes in a folder of its own.

/whoami          the backend's name, a newline
/slow/slow.bin   a file at SLOW_RATE
/bulk.bin        a larger file as fast as it goes
/upload/NAME     PUT
/healthy         200, or 503 while it is made sick
"""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from lab import netns

SLOW_BYTES: Final = 1_200_000
SLOW_RATE: Final = 100_000  # bytes a second: 12 s
BULK_BYTES: Final = 20_000_000
_WORKER: Final = 65534  # nobody

_CONFIGURATION: Final = """\
daemon off;
user nobody nogroup;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    log_format lab '$request_uri $status $body_bytes_sent $remote_addr $remote_port';
    access_log {folder}/access.log lab;
    client_body_temp_path {folder}/tmp;
    proxy_temp_path {folder}/tmp/proxy; fastcgi_temp_path {folder}/tmp/fastcgi;
    uwsgi_temp_path {folder}/tmp/uwsgi; scgi_temp_path {folder}/tmp/scgi;
    default_type text/plain;
    client_max_body_size 64m;
    lingering_close off;  # log first, close then: who has seen the end of a reply finds it in the log
    server {{
        listen {port} backlog=4096;
        listen [::]:{port} ipv6only=on backlog=4096;
        root {www};
        add_header X-Backend {name};
        location = / {{ return 200 "hello from {name}\\n"; }}
        location = /whoami {{ return 200 "{name}\\n"; }}
        location = /healthy {{
            if (-f {folder}/sick) {{ return 503 "sick\n"; }}
            return 200 "well\n";
        }}
        location /slow/ {{ alias {www}/; limit_rate {rate}; }}
        location /upload/ {{ alias {folder}/upload/; dav_methods PUT; }}
    }}
}}
"""


def make_files(www: Path) -> dict[str, str]:
    """Make the files that all backends serve; returns name -> sha256. The content does not compress and is the same each time."""
    www.mkdir(mode=0o755)
    digests = {}
    for name, size in (("slow.bin", SLOW_BYTES), ("bulk.bin", BULK_BYTES)):
        content = random.Random(name).randbytes(size)
        (www / name).write_bytes(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


class Nginx:
    """One running nginx."""

    def __init__(self, binary: Path, namespace: str, folder: Path, name: str, www: Path, port: int) -> None:
        """Write its configuration and start it inside `namespace`; `wait` tells when it serves."""
        self.name = name
        self._folder = folder
        for made in (folder, folder / "tmp", folder / "upload"):
            made.mkdir(mode=0o755)
            os.chown(made, _WORKER, _WORKER)
        configuration = folder / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder, name=name, www=www, rate=SLOW_RATE, port=port))
        argv = [str(binary), "-p", str(folder), "-c", str(configuration), "-e", str(folder / "error.log")]
        self._argv = netns.entering(namespace, argv)
        self._process = self._started()

    def _started(self) -> "subprocess.Popen[bytes]":
        with (self._folder / "output").open("a") as output:
            return subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)

    def crash(self) -> None:
        """Kill all of its processes: its port is closed then."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        """Start it again after a crash, and wait until it serves."""
        (self._folder / "pid").unlink(missing_ok=True)
        self._process = self._started()
        self.wait()

    def sick(self, *, sick: bool) -> None:
        """From now on /healthy answers so."""
        mark = self._folder / "sick"
        if sick:
            mark.touch()
        else:
            mark.unlink(missing_ok=True)

    def wait(self, within: float = 60.0) -> None:
        """Return once it serves (it writes its pid after it listens). Raises RuntimeError with its error log."""
        until = time.monotonic() + within
        while not (self._folder / "pid").exists() or not (self._folder / "pid").read_text().strip():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"nginx of {self.name} does not start: {self.error_log()}")
            time.sleep(0.01)

    def error_log(self) -> str:
        """What it complained about."""
        path = self._folder / "error.log"
        return path.read_text() if path.exists() else ""

    def logged(self, marker: str) -> list[str]:
        """Access log lines of requests whose URI ends in ?MARKER. A request is logged before its connection is closed."""
        path = self._folder / "access.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.split(" ", 1)[0].endswith(f"?{marker}")]

    def uploaded(self, name: str) -> str:
        """sha256 of an uploaded file."""
        return hashlib.sha256((self._folder / "upload" / name).read_bytes()).hexdigest()

    def stop(self, within: float = 3.0) -> None:
        """End it by its process id: gracefully, then not."""
        for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(within)
