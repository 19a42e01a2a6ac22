"""Files that are whole or absent."""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Make `data` the content of `path` in one stroke: whoever looks sees the old file or the new one, whole.

    Raises `OSError` (a full disk, a folder that cannot be written) and then leaves the old file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
