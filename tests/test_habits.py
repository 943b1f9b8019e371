"""What a forge and an editor run is what `make` runs; who reports a bug is asked for what the doctor says."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_the_workflow_runs_make_targets_and_what_ci_runs() -> None:
    steps = [
        step["run"]
        for job in read(".github/workflows/ci.yml")["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    assert ".ci/run" in steps
    for step in steps:
        program, *words = step.split()
        assert (program == "make" and set(words) <= TARGETS) or (ROOT / step).stat().st_mode & 0o111, step


def test_ci_runs_make_targets() -> None:
    named = [
        word
        for words in re.findall(r"make ([^&>)\n]*)", (ROOT / ".ci" / "run").read_text())
        for word in words.split()
        if "=" not in word
    ]
    assert {"lint", "types", "test", "faults", "soak", "test-machines", "docs"} <= set(named) <= TARGETS


def test_pre_commit_runs_make_targets() -> None:
    entries = [hook["entry"].split() for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert entries and all(program == "make" and words and set(words) <= TARGETS for program, *words in entries)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_templates_ask_the_doctor(path: Path) -> None:
    fields = {field["id"]: field for field in yaml.safe_load(path.read_text())["body"]}
    assert "fastscnn-doctor" in fields["doctor"]["attributes"]["label"]
    if path.stem != "wish":
        assert fields["doctor"]["validations"] == {"required": True}


def test_make_targets_are_those_that_it_declares() -> None:
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(" ".join(phony).split()) == TARGETS
    for target in TARGETS:
        done = subprocess.run(["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_dry_run_starts_nothing_but_make() -> None:
    """Make runs a line that names MAKE whatever it was told, and all else that stands in it."""
    lines = (ROOT / "Makefile").read_text().replace("\\\n", " ").splitlines()
    for line in [line for line in lines if line.startswith("\t") and "$(MAKE)" in line]:
        assert re.fullmatch(r"\t\$\(MAKE\)[^;&|`]*", line), line
