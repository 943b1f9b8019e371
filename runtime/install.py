"""How this copy of the package gets an extra: never by its bare name, which is not on the package index and a stranger could take."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import platform
import re
import shlex
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_NAME = "fastscnn"
_HERE = Path(__file__).resolve().parents[1]  # the package, which in a clone is the repository


def command(extra: str) -> str:
    """The line that installs what an extra brings (or several, joined by commas), for a copy from a clone, a wheel, a repository's address or anywhere else.

    Where the copy's origin is not known or gone, it names the packages themselves, with the versions that fit.
    """
    return f"{_pip()} {_wanted(extra)}"


def again() -> str:
    """The line that installs this copy and what it requires once more."""
    return f"{_pip()} --force-reinstall {_wanted('')}"


def upgrade(package: str) -> str:
    """The line that brings one that is not this project's up to date."""
    return f"{_pip()} --upgrade {package}"


def _wanted(extra: str) -> str:
    extras = f"[{extra}]" if extra else ""
    origin = None
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
        # A clone that is also the current folder has a second, bare description of the package there.
        notes = [one.read_text("direct_url.json") for one in metadata.distributions(name=_NAME)]
        origin = _origin(json.loads(next(filter(None, notes), "{}")), extras)
    if origin is None and (_HERE / "pyproject.toml").is_file():  # a folder on Python's path
        origin = shlex.quote(f"{_HERE}{extras}")
    return origin or " ".join(map(shlex.quote, _packages(extra))) or f"the packages of the extra {extra!r}"


def _origin(told: dict[str, Any], extras: str) -> str | None:
    """What pip noted of where it took the package from (PEP 610), if it can be taken from there again."""
    url = str(told.get("url", ""))
    if "vcs_info" in told:
        source = told["vcs_info"]
        return shlex.quote(f"{_NAME}{extras} @ {source['vcs']}+{url}@{source['commit_id']}")
    if not url.startswith("file:"):
        return shlex.quote(f"{_NAME}{extras} @ {url}") if url else None
    path = Path(unquote(urlsplit(url).path))
    if not path.exists():
        return None
    editable = "-e " if told.get("dir_info", {}).get("editable") else ""
    return editable + shlex.quote(f"{path}{extras}")


def _packages(extra: str) -> list[str]:
    try:
        required = metadata.requires(_NAME) or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for requirement in required:
        package, _, marker = requirement.partition(";")
        named = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        machine = re.search(r"platform_machine\s*==\s*['\"]([^'\"]+)", marker)
        if (named[1] if named else "") in extra.split(",") and (machine is None or machine[1] == platform.machine()):
            found.append(package.strip())
    return found


def _pip() -> str:
    """pip as it is called for this interpreter."""
    if importlib.util.find_spec("pip") is None and shutil.which("uv"):
        return f"uv pip install --python {shlex.quote(sys.executable)}"
    beside = shutil.which("pip")
    if beside and Path(beside).parent == Path(sys.executable).parent:
        return "pip install"
    return f"{shlex.quote(sys.executable)} -m pip install"
