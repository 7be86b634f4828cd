"""Whether what a container writes outlives it."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_MOUNT_POINT = 4


def warning_of(
    url: str, environ: Mapping[str, str] = os.environ, mounts: Path = MOUNTS
) -> str | None:
    """Say that the database goes with the container, where it does.

    Only in an image, which names the folder for a volume in DATA_FOLDER: elsewhere there need be no
    mount. An engine may keep volumes on the file system of the container itself, so what counts is
    whether something is mounted there.
    """
    folder = environ.get("DATA_FOLDER")
    if not folder or not url.startswith("sqlite:"):
        return None
    from service_kit.database.sqlite.connect import file_of

    path = file_of(url).absolute()
    try:
        points = _mount_points(mounts.read_text().splitlines())
    except OSError:
        return None
    if any(str(parent) in points for parent in path.parents if parent != Path("/")):
        return None
    return (
        f"No volume: the database {path} goes when this container is removed. Mount one at "
        f"{folder}, as with `docker run -v crmsys:{folder} ...`, or set DATABASE_URL."
    )


def _mount_points(lines: Iterable[str]) -> set[str]:
    return {line.split()[_MOUNT_POINT] for line in lines}
