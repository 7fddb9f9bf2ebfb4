"""Who owns a store file; promise: never two processes, and free again when the owner is gone."""

import contextlib
import fcntl
import os
from pathlib import Path

from eventspine.storage.errors import OwnedError, StoreFormatError

_NETWORK_FILE_SYSTEMS = ("9p", "afs", "ceph", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs")
"""File systems on which SQLite's write-ahead log or the lock cannot be trusted."""


class Ownership:
    """Locks on `<file>.lock` and on the file, which the kernel releases when the process ends.

    The first is for the name: a file that takes the place of one in use is another file. The second
    is for what is in it: it may have several names, or get another one while it is open. The lock
    file stays: deleting it would let two processes lock two files of the same name.
    """

    def __init__(self, path: Path) -> None:
        """Takes the lock.

        Raises:
            OwnedError: Another process, or this one, has the file open. Nothing was opened.
        """
        lock = path.with_name(path.name + ".lock")
        self._name = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        if not _locked(self._name):
            owner = os.pread(self._name, 20, 0).decode("ascii", "replace").strip()
            os.close(self._name)
            raise OwnedError(
                f"{path} is owned by process {owner or 'unknown'}; stop it, or use another file"
            )
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _locked(self._file):
            # The file's descriptor stays open: with it, the locks would go that SQLite has on the
            # file where this very process is the owner.
            os.close(self._name)
            raise OwnedError(
                f"{path} is open under another name; stop the process that has it open, or use "
                "another file"
            )
        os.ftruncate(self._name, 0)
        os.pwrite(self._name, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Gives the file up. Only once, and after SQLite has closed it."""
        os.close(self._file)
        os.close(self._name)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def checked_path(path: Path) -> Path:
    """Returns the one real path of a store file, which may not exist yet.

    Raises:
        StoreFormatError: The path cannot hold a store; the text says why and what to do.
    """
    if path.name == "" or str(path).startswith((":memory:", "file:")):
        raise StoreFormatError(f"{str(path)!r} is not a file name; give the path of a file")
    path = path.expanduser().resolve()
    if path.is_dir():
        raise StoreFormatError(f"{path} is a folder; give the path of a file")
    if path.exists() and not path.is_file():
        raise StoreFormatError(f"{path} is not a regular file; give the path of a file")
    if not path.parent.is_dir():
        raise StoreFormatError(f"the folder {path.parent} does not exist; make it first")
    for needed in (path.parent, path) if path.exists() else (path.parent,):
        if not os.access(needed, os.R_OK | os.W_OK):
            raise StoreFormatError(f"{needed} is not readable and writable for this user")
    kind = _file_system(path.parent)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StoreFormatError(f"{path} is on a network file system ({kind}); use a local disk")
    return path


def _file_system(folder: Path) -> str:
    """Returns the type of the file system of a folder; empty where the system does not tell."""
    kinds: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError), Path("/proc/self/mounts").open() as mounts:
        for line in mounts:
            _, mounted, kind, *_ = line.split(" ")
            kinds[mounted.replace("\\040", " ")] = kind
    for parent in (folder, *folder.parents):
        if str(parent) in kinds:
            return kinds[str(parent)]
    return ""
