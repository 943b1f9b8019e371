"""Write files so that whoever looks sees the old one or the complete new one, never half of it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from .errors import OutputError


def partial(path: Path) -> Path:
    """A name beside `path` to write under first; it keeps the suffix, by which writers choose the format."""
    return path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")


def write_atomically(path: str | Path, data: bytes) -> None:
    """Put `data` at `path` in one step.

    Raises:
        OutputError: no such folder, no permission, no space; nothing is left behind.
    """
    path = Path(path).resolve()  # a link is followed, not replaced
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(data)  # /dev/stdout, a pipe: there is nothing to replace
        return
    temporary = partial(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> OutputError:
    remedy = (
        "Free some space or choose another place"
        if error.errno == 28
        else "Choose a place that exists and can be written"
    )
    return OutputError(f"{path} cannot be written ({error.strerror or error}). {remedy}")
