"""Damaged files by the thousand: each is read, or refused with the error that is documented.

    python tests/fuzz/run.py --cases 10000 [--seed 0] [--only onnx] [--json PATH]

Cases run in child processes under a limit of memory, so a crash, a hang or an allocation without measure is found and
named, too: its file is kept. Exit code 1 where anything was found.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

MEMORY = 4 << 30  # bytes of address space beyond what the imports took
PATIENCE = 30.0  # seconds for one case
BATCH = 2000  # cases a process


def batch(seed: int, first: int, count: int, only: str | None, folder: str, pipe: Any) -> None:
    """In a child: run cases first…first+count, and say before each what it is."""
    import logging

    import cv2
    from mutate import mutated
    from targets import chosen, targets

    said = os.open(Path(folder) / "stderr", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(said, 2)  # decoders complain about each file
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    place = Path(folder)
    all_of_them = [t for t in targets(place) if only is None or t.name.startswith(only)]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    for number in range(first, first + count):
        dice = random.Random(f"{seed}-{number}")
        target = chosen(all_of_them, dice)
        sound = dice.choice(target.seeds)
        path = place / f"case{target.suffix}"
        target.write(path, mutated(sound, dice, target.focus(sound)))
        pipe.send(("case", number, target.name))
        began = time.monotonic()
        try:
            target.read(path)
            outcome, detail = "read", ""
        except target.documented as error:
            outcome, detail = "refused", str(error)
            if not detail.isprintable() and "\n" not in detail:
                outcome = "unprintable"
        except BaseException:
            outcome, detail = "FAULT", traceback.format_exc()
        pipe.send((outcome, detail if outcome in ("FAULT", "unprintable") else "", time.monotonic() - began))


def run(cases: int, seed: int, only: str | None, kept: Path) -> dict[str, Any]:
    """All cases; gives the counts by target and outcome, and what was found."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    found: list[dict[str, Any]] = []
    slowest = 0.0
    context = multiprocessing.get_context("fork")
    number, began = 0, time.monotonic()
    while number < cases:
        with tempfile.TemporaryDirectory(prefix="fastscnn-fuzz-") as folder:
            ours, theirs = context.Pipe()
            child = context.Process(target=batch, args=(seed, number, min(BATCH, cases - number), only, folder, theirs))
            child.start()
            theirs.close()
            name = "start"
            while True:
                try:
                    if not ours.poll(300 if name == "start" else PATIENCE):
                        child.kill()
                        raise EOFError("a hang")
                    kind, *rest = ours.recv()
                except EOFError as end:
                    child.join()
                    if child.exitcode == 0:
                        break
                    said = (Path(folder) / "stderr").read_text(errors="replace")[-2000:]
                    what = f"{str(end) or f'a crash, exit code {child.exitcode}'}\n{said}"
                    kept.mkdir(parents=True, exist_ok=True)
                    for path in Path(folder).glob("case*"):
                        (kept / f"{number}-{path.name}").write_bytes(path.read_bytes())
                    found.append({"case": number, "target": name, "what": what})
                    counts[name]["CRASH"] += 1
                    if name == "start":
                        raise SystemExit("the seeds cannot be made") from None
                    number += 1
                    break
                if kind == "case":
                    number, name = rest[0], rest[1]
                    continue
                counts[name][kind] += 1
                slowest = max(slowest, rest[1])
                if kind in ("FAULT", "unprintable"):
                    found.append({"case": number, "target": name, "what": rest[0]})
                number += 1
    return {
        "cases": sum(sum(count.values()) for count in counts.values()),
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "slowest_case": round(slowest, 3),
        "targets": {name: dict(count) for name, count in sorted(counts.items())},
        "found": found,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="targets whose name begins so")
    parser.add_argument("--kept", type=Path, default=Path("fuzz-found"), help="where files that crash go")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = run(options.cases, options.seed, options.only, options.kept)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    for name, count in report["targets"].items():
        print(f"{name:<14}" + "".join(f"  {kind} {number:>6,}" for kind, number in sorted(count.items())))
    for fault in report["found"][:20]:
        print(f"\ncase {fault['case']} of {fault['target']}: {fault['what']}")
    print(
        f"{report['cases']:,} cases, {len(report['found'])} found, {report['seconds']} s, slowest {report['slowest_case']} s"
    )
    return 1 if report["found"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
