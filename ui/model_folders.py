"""Model folders on this server's disk: where they are, and whether they have changed."""

import logging
from pathlib import Path

log = logging.getLogger(__name__)

Stamp = tuple[tuple[str, int, int, int], ...]  # name, inode, bytes and modification time (ns) of every file

FOLDER_DEPTH = 3  # how deep below a root model folders are looked for
MOST_FOLDERS = 200


def stamp(folder: Path) -> Stamp | None:
    """What tells a changed model folder from an unchanged one; None while that cannot be said."""
    try:
        stats = [(file.name, file.stat()) for file in folder.iterdir()]
    except OSError:
        return None
    return tuple(sorted((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


def model_folders(root: Path) -> list[Path]:
    """The model folders below `root`, not deeper than FOLDER_DEPTH, at most MOST_FOLDERS."""
    found: list[Path] = []
    level = [root]
    for _ in range(FOLDER_DEPTH + 1):
        following: list[Path] = []
        for folder in level:
            if (folder / "config.json").is_file():
                found.append(folder)
            elif folder.is_dir():
                try:
                    following += sorted(
                        child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")
                    )
                except OSError:
                    log.warning("a folder under the model roots cannot be read")
        level = following
        if len(found) >= MOST_FOLDERS:
            break
    return found[:MOST_FOLDERS]
