"""Run some of the project's commands in turns for ever, in a process that is there to be killed.

    python worker.py MODULE '[["--head", "cls", …], …]' [ROUNDS]

Prints "ready" when the first round is done, so that the imports are over and the files are there.
"""

from __future__ import annotations

import importlib
import itertools
import json
import sys


def main(module: str, jobs: str, rounds: str = "inf") -> None:
    work = importlib.import_module(module).main
    for number in itertools.count():
        if number == float(rounds):
            return
        for job in json.loads(jobs):
            if code := work(job):
                raise SystemExit(code)
        if number == 0:
            print("ready", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
