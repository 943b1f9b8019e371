"""What the doctor says about one thing."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, FAILURE = STATUSES = ("ok", "warning", "failure")  # from best to worst


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    section: str  # one of examine.SECTIONS
    name: str
    status: str  # one of STATUSES
    found: str
    remedy: str = ""  # what to do; never empty where the status is not ok


def worst(findings: list[Finding]) -> str:
    """The worst status among them; "ok" where there are none."""
    return max((finding.status for finding in findings), key=STATUSES.index, default=OK)
