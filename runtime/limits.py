"""What Linux's control groups leave to this process: a container's, a systemd unit's, or a batch system's share of the machine.

Limits hold for a group and all groups in it, so the process's own group is read and every one above it that can be seen
here. Version 1 has a hierarchy for each controller, version 2 one for all; a system may have both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_NONE = 1 << 60  # bytes from which version 1's "no limit" begins


def cores(root: Path = Path("/")) -> float | None:
    """How many cores' time this process may take, 1.5 for one; None where nobody limits it.

    Args:
        root: below which /proc and /sys are.
    """
    shares = []
    for folder in _groups(root, "cpu"):
        words = _text(folder / "cpu.max").split() or [
            _text(folder / "cpu.cfs_quota_us"),
            _text(folder / "cpu.cfs_period_us"),
        ]
        if len(words) == 2 and all(word.isdecimal() and int(word) for word in words):  # neither "max" nor -1
            shares.append(int(words[0]) / int(words[1]))
    return min(shares, default=None)


def memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process and those beside it in its group may have; None where nobody limits them."""
    sizes = [
        _text(folder / name) for folder in _groups(root, "memory") for name in ("memory.max", "memory.limit_in_bytes")
    ]
    return min((int(size) for size in sizes if size.isdecimal() and int(size) < _NONE), default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the process's group and of those above it, from within to without."""
    own: dict[str, str] = {}  # hierarchy, by its controllers → the group's path in it
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon:
            own |= dict.fromkeys(controllers.split(","), path)  # version 2 has no controllers here: ""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, dash, after = line.partition(" - ")
        words, kind = before.split(" "), after.split(" ")
        if not dash or len(words) < 5 or len(kind) < 3:
            continue
        shown, place = words[3], root / words[4].lstrip("/")
        if kind[0] == "cgroup2":
            path = own.get("", "/")
        elif kind[0] == "cgroup" and controller in kind[-1].split(","):
            path = own.get(controller, "/")
        else:
            continue
        # A container may see only its own part of the tree, mounted as if it were all of it.
        top = shown.rstrip("/")
        inside = path.removeprefix(top) if f"{path}/".startswith(f"{top}/") else ""
        parts = [part for part in inside.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield place.joinpath(*parts[:depth])


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except (OSError, ValueError):  # not there, not for this user, or a name that cannot be
        return ""
