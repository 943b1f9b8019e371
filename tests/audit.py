"""`make audit`: are there known vulnerabilities in the versions that constraints.txt pins? By pip-audit.

Exit code 1 where there are. Where nobody answers (no network, a mirror without this service), it says so and ends with 0,
because a build must not depend on somebody else's server; what could not be asked about is counted all the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def main(program: str) -> int:
    command = [
        program,
        "-r",
        "constraints.txt",
        "--no-deps",
        "--disable-pip",
        "--progress-spinner",
        "off",
        "--format",
        "json",
    ]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"not audited: {error}")
        return 0
    code, text = verdict(done.stdout, done.stderr)
    print(text)
    return code


def verdict(output: str, errors: str) -> tuple[int, str]:
    """Exit code and report, from pip-audit's JSON and what it said beside it."""
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, f"not audited: {(errors.strip().splitlines() or ['pip-audit gave no report'])[-1]}"
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        reason = packages[0]["skip_reason"] if packages else "no dependencies"
        return 0, f"not audited: none of {len(packages)} packages is known to the index that answers ({reason})"
    lines = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found.get('fix_versions', [])) or 'no version yet'}"
        for package in asked
        for found in package.get("vulns", [])
    ]
    lines.append(f"{len(asked)} of {len(packages)} packages audited, {len(lines)} known vulnerabilities")
    return int(len(lines) > 1), "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
