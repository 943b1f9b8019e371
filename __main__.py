"""`python -m fastscnn`, for where scripts are not on the path: the same as `fastscnn`."""

from .commands import main

if __name__ == "__main__":
    raise SystemExit(main())
