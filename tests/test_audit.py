"""The audit tells findings, sound packages and silence apart."""

import importlib.util
import json
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("audit", Path(__file__).with_name("audit.py"))
assert spec and spec.loader
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)

SOUND = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}
FOUND = {"name": "yaml", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}, {"id": "CVE-2"}]}


@pytest.mark.parametrize(
    ("packages", "code", "says"),
    [
        ([SOUND, SKIPPED], 0, "1 of 2 packages audited, 0 known"),
        ([SOUND, FOUND], 1, "yaml 1.0: CVE-1, fixed in 1.1\nyaml 1.0: CVE-2, fixed in no version yet\n2 of 2 packages audited, 2 known"),
        ([SKIPPED, SKIPPED], 0, "not audited: none of 2 packages is known"),
        ([], 0, "not audited"),
    ],
)  # fmt: skip
def test_reports(packages: list[object], code: int, says: str) -> None:
    found, text = audit.verdict(json.dumps({"dependencies": packages}), "")
    assert found == code
    assert says in text


def test_silence() -> None:
    assert audit.verdict("", "first\nConnectionError: no route") == (0, "not audited: ConnectionError: no route")
    assert audit.verdict("[]", "")[0] == 0
    assert audit.main("/absent/pip-audit") == 0
