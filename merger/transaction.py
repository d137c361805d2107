"""A folder that appears whole or not at all.

Everything is written into a hidden folder beside the target, on the same file system. A lock on that folder tells the
living from the dead: it vanishes with its process, so an unlocked leftover is an orphan, and the next merge sweeps it.
The target changes in one rename; where a previous result has to give way, the two folders change places in one system
call. Where that is not offered, the previous result is parked under a hidden name for the length of a rename; if the
merge is killed there, the next sweep puts it back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from merger.bilingual import Text
from merger.errors import DiskFull, OutputNotWritable, WhisperMergeError
from merger.provenance import CHECKSUMS_FILE
from merger.space import free_bytes, size_text

MARK = ".merging-"
KEPT = ".kept-"  # a replaced folder in which somebody's files had to stay
PARKED = "-previous"  # ends the hidden name of a result that stands aside while the new one takes its place
# The names that are given here and no others: what somebody else has hidden beside a result is not ours to remove.
HIDDEN = re.compile(rf"\.(?P<target>.+){re.escape(MARK)}\d+-[0-9a-f]{{8}}(?P<parked>{PARKED})?", re.DOTALL)
# What a file system answers when a folder cannot be made or written there, in words.
REFUSALS = {
    errno.EACCES: Text("нет прав", "permission denied"),
    errno.EPERM: Text("это запрещено", "it is not permitted"),
    errno.EROFS: Text("диск только для чтения", "the file system is read-only"),
    errno.ENOTDIR: Text("на пути стоит файл, а не папка", "a file stands in the path where a folder is due"),
    errno.EEXIST: Text("на этом месте стоит файл", "a file is in the way"),
    errno.EISDIR: Text("это папка", "it is a folder"),
    errno.ENOENT: Text("такой папки нет", "there is no such folder"),
    errno.ENAMETOOLONG: Text("имя слишком длинное", "the name is too long"),
    errno.ELOOP: Text("ссылки ведут по кругу", "the links go round in a circle"),
    errno.EBUSY: Text("папка занята системой", "the folder is in use by the system"),
    errno.EXDEV: Text("это другой диск", "it is another file system"),
}
MOUNT_POINT = Text(
    "это точка монтирования, её нельзя заменить целиком; назовите папку внутри неё",
    "it is a mount point and cannot be replaced as a whole; name a folder inside it",
)
# The folder changes in one rename: whoever stands in it would be left in one that has no name any more.
CURRENT_FOLDER = Text(
    "это текущая папка, её нельзя заменить целиком; назовите папку внутри неё или перейдите в другую",
    "it is the current folder and cannot be replaced as a whole; name a folder inside it, or go to another",
)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def disk_errors(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn what the file system refuses into coded errors: DiskFull, OutputNotWritable."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(needed=size_text(needed), free=size_text(free_bytes(path))) from error
        if error.errno in REFUSALS:
            raise OutputNotWritable(path=path.name or str(path), detail=REFUSALS[error.errno]) from error
        raise


def nobodys(folder: Path) -> Collection[str]:
    """For folders in which nothing is anybody else's."""
    return ()


def sweep(parent: Path, foreign: Callable[[Path], Collection[str]] = nobodys) -> list[str]:
    """Remove what killed merges left in a folder; returns the names. Living merges are left alone.

    A parked result whose place is still free returns there. Results in subfolders, and in a replaced result what is
    `foreign`, that such a merge had not yet put back into their folder are put back first.
    """
    removed = []
    for leftover in sorted(parent.glob(f".*{MARK}*")) if parent.is_dir() else []:
        name = HIDDEN.fullmatch(leftover.name)
        if name is None:
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                target = parent / name["target"]
                if name["parked"] and not target.exists():
                    os.rename(leftover, target)
                    continue
                replaced = (leftover / CHECKSUMS_FILE).is_file()  # not a merge that had only begun to write
                if _put_back(leftover, target, foreign(leftover) if replaced else ()):
                    shutil.rmtree(leftover)
                    removed.append(leftover.name)
            finally:
                os.close(descriptor)
    return removed


def _put_back(old: Path, target: Path, foreign: Collection[str]) -> bool:
    """What stays with the name of a replaced folder: results in subfolders (direct/, slerp/, ties/), and what is
    `foreign`. Returns whether nobody else's file is left behind; raises nothing."""
    whole = True
    for child in list(old.iterdir()):
        stays = child.name in foreign or (child.is_dir() and not child.is_symlink())
        if stays and target.is_dir() and not os.path.lexists(target / child.name):
            try:
                os.rename(child, target / child.name)
            except OSError:
                whole = False
    return whole


def _take_after(folder: Path, other: Path) -> None:
    """Give a folder group and mode of the one whose place it takes, as far as its file system has and permits them."""
    with contextlib.suppress(OSError):
        wanted = other.stat()
        mode = stat.S_IMODE(wanted.st_mode)
        try:
            os.chown(folder, -1, wanted.st_gid)
        except OSError:
            mode &= ~(stat.S_IRWXG | stat.S_ISGID)  # what that group may, another may not
        folder.chmod(mode)


class FolderTransaction:
    """Use with `with`: fill `folder`, then `commit()`. Without a commit nothing remains.

    foreign: names in the folder whose place it takes that others have put there; they stay with its name.
    """

    def __init__(self, target: Path, foreign: Callable[[Path], Collection[str]] = nobodys) -> None:
        self.target, self._foreign = target, foreign
        self.folder = target  # replaced on entry
        self._lock = -1

    def __enter__(self) -> FolderTransaction:
        with disk_errors(self.target):
            if self.target.is_mount():
                raise OutputNotWritable(path=self.target.name, detail=MOUNT_POINT)
            self.target.parent.mkdir(parents=True, exist_ok=True)
            sweep(self.target.parent, self._foreign)
            if self.target.exists() and not os.access(self.target, os.W_OK | os.X_OK):
                raise OutputNotWritable(path=self.target.name, detail=REFUSALS[errno.EACCES])
            while not self._claim():
                pass
        return self

    def _claim(self) -> bool:
        """Make and lock a fresh hidden folder; False if another process swept it before it was locked."""
        name = f".{self.target.name}{MARK}{os.getpid()}-{secrets.token_hex(4)}"
        self.folder = self.target.parent / name
        self.folder.mkdir(mode=0o755)
        try:
            self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.folder.exists():
                return True
        os.close(self._lock)
        return False

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def commit(self, stage: Callable[[str], None] = lambda _: None) -> list[str]:
        """Make the folder visible under its name, durably. `stage` is told before and after the rename.

        Returns what others have put into the folder that gave way; it is in the new one.
        """
        stayed: list[str] = []
        with disk_errors(self.target):
            for file in self.folder.iterdir():
                _sync(file)
            _sync(self.folder)
            stage("committing")
            if not self.target.exists():
                os.rename(self.folder, self.target)
            else:
                _take_after(self.folder, self.target)
                exchange(self.folder, self.target)
                stayed = self._keep_foreign()
            stage("committed")
            _sync(self.target.parent)
        return stayed

    def _keep_foreign(self) -> list[str]:
        """After the exchange nothing may fail any more: a folder out of which not all could be moved stays in sight."""
        stayed: list[str] = []
        try:
            stayed = sorted(self._foreign(self.folder))
            whole = _put_back(self.folder, self.target, stayed)
        except (OSError, WhisperMergeError):
            whole = False
        if not whole:
            with contextlib.suppress(OSError):
                os.rename(self.folder, self.target.with_name(f"{self.target.name}{KEPT}{secrets.token_hex(4)}"))
        return stayed


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exchange(one: Path, other: Path) -> None:
    """Let two folders change places in one system call, or, where that is not offered, in three renames."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
        if number not in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
            raise OSError(number, os.strerror(number))
    aside = one.with_name(f"{one.name}{PARKED}")
    # Locked, so that no sweep takes the parked folder of a living merge for an orphan.
    lock = os.open(other, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(other, aside)
        try:
            os.rename(one, other)
        finally:
            os.rename(aside, one if other.exists() else other)
    finally:
        os.close(lock)


def stayed_warning(names: list[str]) -> list[Text]:
    """What to say of files of others that came into the folder during the merge."""
    if not names:
        return []
    listed = ", ".join(names)
    return [
        Text(
            f"Во время слияния в папке появились чужие файлы; они остались там: {listed}.",
            f"Files of others came into the folder during the merge and stay there: {listed}.",
        )
    ]
