"""One measurement, in this process: prints its figures as one line of JSON."""

from __future__ import annotations

import json
import sys

from benchmarks._plan import load

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Arguments: group, case, subject, size. What cannot be measured here, for want of a module, is said as ``missing``."""
    group, case, subject, size = arguments
    try:
        answer: object = dict(load(group).case(case).measure(subject, int(size)))
    except ImportError as error:
        answer = {"missing": str(error)}
    print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
