"""A machine made of files and programs, and answers in place of child processes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards import JETSON, PROGRAMS

from fastscnn.runtime.doctor import graphics, look, opencv, software
from fastscnn.runtime.doctor.look import UnansweredError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A machine made of files and programs: a Jetson, but for the changes."""

    def make(files: dict[str, Any] | None = None, programs: dict[str, str] | None = None) -> Path:
        top = tmp_path / f"root{time.monotonic_ns()}"
        for name, content in {**JETSON, **(files or {})}.items():
            if content is None:
                continue
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is ...:
                path.mkdir()
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        (top / "bin").mkdir(parents=True)
        for name, said in {**PROGRAMS, **(programs or {})}.items():
            script = top / "bin" / name
            script.write_text(said if said.startswith("#!") else f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
            script.chmod(0o755)
        monkeypatch.setattr(look, "ROOT", top)
        monkeypatch.setenv("PATH", f"{top / 'bin'}:/usr/bin:/bin")
        return top

    return make


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Answers in place of child processes; what has none fails."""

    def give(**answers: dict[str, Any]) -> None:
        def ask(question: str, **about: Any) -> dict[str, Any]:
            key = about["name"].partition(".")[0] if question == "module" else question
            if key not in answers:
                raise UnansweredError(f"no {key}")
            return answers[key]

        for module in (software, graphics, opencv):
            monkeypatch.setattr(module, "ask", ask)

        def find_spec(name: str) -> object:
            return object() if name in answers else None

        monkeypatch.setattr(software.importlib.util, "find_spec", find_spec)

    return give
