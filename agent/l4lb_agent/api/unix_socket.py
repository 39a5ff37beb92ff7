"""The place of a Unix socket in the file system: safe to bind to, and never somebody else's."""

import contextlib
import errno
import grp
import logging
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

MAX_PATH = 107  # sun_path holds 108 bytes with the final zero (unix(7))

_log = logging.getLogger(__name__)


class SocketRefused(Exception):
    """The path cannot be bound to; the message says why and what to do."""


def clear(path: Path) -> None:
    """Makes `path` free to bind to: removes a socket that nobody listens on. Raises SocketRefused for anything else that is there, for a
    path that is too long, and for a folder where others could put theirs. The caller holds the agent's lock, so that no second agent
    does this at the same time."""
    if len(os.fsencode(path)) > MAX_PATH:
        raise SocketRefused(
            f"{path} is longer than the {MAX_PATH} bytes that the path of a Unix socket may have: choose a shorter runtime_dir"
        )
    try:
        folder = os.stat(path.parent)
    except OSError as error:
        raise SocketRefused(f"the folder of {path} cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(folder.st_mode):
        raise SocketRefused(f"{path.parent} is not a folder")
    if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        raise SocketRefused(f"{path.parent} may be written by everybody, who could put their own socket there: chmod o-w {path.parent}")
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketRefused(f"{path} is there and is not a socket: remove it if it is not needed")
    if found.st_uid != os.geteuid():
        raise SocketRefused(f"{path} belongs to user {found.st_uid}, not to {os.geteuid()}: remove it if it is not needed")
    if _answers(path):
        raise SocketRefused(f"another process listens on {path}: stop it or configure another runtime_dir")
    os.unlink(path)


def give(path: Path, group: str) -> str:
    """Gives the socket to a group, where there is one of that name ("" is none). Returns what is wrong, "" when nothing is."""
    if not group:
        return ""
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid, follow_symlinks=False)
    except KeyError:
        _log.info("event=no_such_group group=%s socket=%s", group, path)
    except PermissionError:
        _log.warning("event=socket_group_refused socket=%s group=%s", path, group)
        return f"{path} could not be given to group {group}: the agent must be a member (SupplementaryGroups={group})"
    return ""


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        code = probe.connect_ex(os.fspath(path))
    return code not in (errno.ECONNREFUSED, errno.ENOENT)


@contextlib.contextmanager
def mode_at_creation(mode: int) -> Iterator[None]:
    """Files and sockets created inside get `mode` at once: there is no moment in which others may open them. The umask is the whole
    process's: other threads' files are at most closed further meanwhile."""
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)
