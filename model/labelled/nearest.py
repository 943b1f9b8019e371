"""What lies there in place of what was looked for: `a_mask.png` for `a.png`, `valid/` for `val/`, a folder deeper."""

from __future__ import annotations

import difflib
import glob
from bisect import bisect
from functools import lru_cache
from pathlib import Path

_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg", ".webp", ".json", ".txt", ".xml")
_OTHER_NAMES = {"val": ("valid", "validation", "dev", "eval"), "train": ("training", "trn"), "test": ("testing", "tst")}
_FEW = 400  # names that are compared one by one


def label_advice(label: Path) -> str:
    """Half a sentence that begins with a space, or nothing where nothing is near."""
    if not label.parent.is_dir():
        near = difflib.get_close_matches(label.parent.name, _folders(label.parent.parent), n=1)
        near += [name for name in _OTHER_NAMES.get(label.parent.name, ()) if (label.parent.parent / name).is_dir()]
        return f" There is no folder {label.parent}" + (f", but {near[-1]}/. Rename it" if near else "")
    names = _names(label.parent, label.parent.stat().st_mtime_ns)
    wanted = label.stem.lower()
    place = bisect(names, label.stem)
    # Names are sorted: what begins alike stands near. Cases differ in a folder's first letters at most.
    near = names if len(names) < _FEW else names[max(0, place - _FEW // 2) : place + _FEW // 2]
    same = [n for n in near if n != label.name and n.lower() == label.name.lower()]
    endings = [n for n in near if n.lower().endswith(_SUFFIXES) and n.lower().startswith(wanted)]
    endings = [n for n in endings if not n[len(wanted)].isalnum()]  # `1_mask.png` for `1.png`, not `10.png`
    if same or endings:
        return f" The nearest is {(same or sorted(endings, key=len))[0]}. {'Rename it' if same else _CONVERT}"
    if deeper := sorted(path.parent.name for path in label.parent.glob(f"*/{glob.escape(label.name)}")):
        return f" It lies one folder deeper, in {deeper[0]}/. Move it up"
    close = difflib.get_close_matches(label.name, near, n=1, cutoff=0.8)
    return f" The nearest name is {close[0]}" if close else ""


_CONVERT = "Rename it, or let fastscnn-data init make a data set of the folder"


def split_advice(root: Path, split: str) -> str:
    """What the split may be called here; begins with a space, or nothing."""
    for place in (root / "images", root / "leftImg8bit", root):
        names = _folders(place)
        for other in (*_OTHER_NAMES.get(split, ()), *difflib.get_close_matches(split, names, n=1)):
            if other in names and other != split:
                return f" There is {place / other}/: rename it, or say --splits {other}"
    for folder in (root / "images" / split, root / split):
        if deeper := [name for name in _folders(folder) if any((folder / name).iterdir())]:
            return f" {folder} holds the folder {deeper[0]}/ and no images; expected them one folder higher"
    if (root / "images").is_dir() and not _folders(root / "images") and any((root / "images").iterdir()):
        return f" {root / 'images'} holds files in place of the folders train/ and val/; fastscnn-data init splits them"
    inside = [
        name for name in _folders(root) if (root / name / "images").is_dir() or (root / name / "classes.yaml").is_file()
    ]
    return f" {root / inside[0]} looks like one: name that folder" if inside else ""


@lru_cache(maxsize=8)
def _names(folder: Path, changed: int = 0) -> list[str]:
    """Sorted, without hidden ones; read once while the folder is as it was."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _folders(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
