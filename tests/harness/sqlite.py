"""The files of a SQLite store, from outside: who holds the lock, holding it, and whether the file is sound."""
import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

from harness.daemon import propagation


@contextlib.contextmanager
def write_lock(database):
    """Holds the lock that every writer of todod takes, so that writes wait."""
    with open(f"{database}.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def small_disk(directory, size="3m"):
    """(mount point, prefix): a daemon that is started with the prefix finds a small file system there. Nobody else does."""
    mount = directory / "disk"
    mount.mkdir()
    rights = "-m" if os.geteuid() == 0 else "-Urm"
    return mount, ["unshare", rights, *propagation(), "sh", "-c", f'mount -t tmpfs -o size={size} todod {mount} && exec "$@"', "sh"]


def lock_holder(database):
    """The process that has locked PATH.lock, by /proc/locks; None when nobody has."""
    status = os.stat(f"{database}.lock")
    for line in Path("/proc/locks").read_text().splitlines():
        part = line.split()
        if part[1] == "FLOCK" and int(part[5].split(":")[2]) == status.st_ino:
            return int(part[4])
    return None


def check_integrity(database):
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
