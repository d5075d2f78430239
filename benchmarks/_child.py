"""One measurement, in this process: prints its figures as one line of JSON, after what else it has to tell."""

from __future__ import annotations

import json
import os
import sys

from benchmarks._plan import load

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Arguments: group, case, subject, size, and the text that the case shares, if it does. Without a subject that is made, said
    as ``shared`` and kept until the end of the input. What cannot be done here, for want of a module, is said as ``missing``.
    """
    group, name, subject, size, *shared = arguments
    case = load(group).case(name)
    try:
        if subject:
            if case.on_one_processor and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            _say(dict(case.measure(subject, int(size), *shared)))
        elif case.share is not None:
            with case.share(int(size)) as text:
                _say({"shared": text})
                sys.stdin.read()
    except ImportError as error:
        _say({"missing": str(error)})
    return 0


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
