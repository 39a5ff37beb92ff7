"""Certificates made on the spot with openssl(1): an authority, an agent and controllers of each role. Keys are ECDSA P-256."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

TRUST_DOMAIN: Final = "l4lb"
ROLES: Final = ("viewer", "operator", "admin")
P256: Final = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")

_CONFIGURATION: Final = """\
[ca]
default_ca = here
[here]
database = {0}/index
new_certs_dir = {0}
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
"""


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate and its key."""

    cert: Path
    key: Path


class OpensslFailed(RuntimeError):
    """openssl did not do it; the message is what it said."""


def _openssl(*arguments: object, text: str = "") -> None:
    argv = ["openssl", *map(str, arguments)]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OpensslFailed(f"{' '.join(argv)}: {done.stderr.strip()}")


class Authority:
    """An authority in a folder of its own: `ca.pem` is what others trust."""

    def __init__(self, folder: Path, name: str = "l4lb test authority") -> None:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.folder = folder
        self.ca = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl("req", "-x509", "-nodes", "-newkey", *P256, "-keyout", self._key, "-out", self.ca, "-days", 2, "-subj", f"/CN={name}")
        self.ca.chmod(0o644)

    @classmethod
    def at(cls, folder: Path) -> "Authority":
        """One that was made in `folder`."""
        found = cls.__new__(cls)
        found.folder, found.ca, found._key = folder, folder / "ca.pem", folder / "ca.key"
        return found

    def itself(self) -> Certificate:
        """The authority's own certificate and key."""
        return Certificate(self.ca, self._key)

    def issue(
        self, name: str, sans: Sequence[str], *, begins: datetime | None = None, days: int = 1, key: Sequence[str] = P256,
        owner: int | None = None,
    ) -> Certificate:  # fmt: skip
        """`name`.pem and `name`.key with subject alternative names such as IP:10.0.0.1, DNS:agent or URI:spiffe://l4lb/role/viewer. Valid
        for `days` from `begins` (UTC) on, which is now, or two days ago when `days` is negative. `key` is what -newkey of openssl-req(1)
        takes; the files belong to the user `owner`."""
        made = Certificate(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request = self.folder / f"{name}.csr"
        _openssl("req", "-new", "-nodes", "-newkey", *key, "-keyout", made.key, "-out", request, "-subj", f"/CN={name}")
        extensions = self.folder / f"{name}.ext"
        names = f"subjectAltName={','.join(sans)}\n" if sans else ""
        extensions.write_text(f"{names}basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n")
        begin = begins or datetime.now(UTC) - timedelta(days=2 if days < 0 else 0)
        end = begin + timedelta(days=abs(days))
        self._sign(request, extensions, made.cert, begin, end)
        made.cert.chmod(0o644)
        made.key.chmod(0o600)
        if owner is not None:
            for file in (made.cert, made.key):
                os.chown(file, owner, owner)
        return made

    def _sign(self, request: Path, extensions: Path, cert: Path, begin: datetime, end: datetime) -> None:
        """By `openssl ca`, which alone takes both dates."""
        (self.folder / "ca.conf").write_text(_CONFIGURATION.format(self.folder))
        (self.folder / "index").write_text("")
        dates = [when.astimezone(UTC).strftime("%Y%m%d%H%M%SZ") for when in (begin, end)]
        files = ("-cert", self.ca, "-keyfile", self._key, "-in", request, "-extfile", extensions, "-out", cert)
        _openssl("ca", "-batch", "-notext", "-config", self.folder / "ca.conf", *files, "-startdate", dates[0], "-enddate", dates[1])

    def agent(self, *addresses: str, owner: int | None = None) -> Certificate:
        """The certificate of an agent at these addresses."""
        return self.issue("agent", [f"IP:{address}" for address in addresses], owner=owner)

    def controller(self, role: str) -> Certificate:
        """The certificate of a controller."""
        return self.issue(role, [f"URI:spiffe://{TRUST_DOMAIN}/role/{role}"])
