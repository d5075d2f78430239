"""The command: ``python -m benchmarks [GROUP …] [--quick] [--repeat N] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Timer
from time import monotonic

from benchmarks._environment import ROOT, EnvironmentFailure, prepare, variables
from benchmarks._plan import GROUPS, LIBRARIES, Case, Group, load
from benchmarks._report import Sample, figure_table, judge, medians, verdict_table

__all__ = ["main"]

# -P keeps the working directory off the path, and the checkout comes last on it: schedcore is the installed one.
_CHILD = "import sys; sys.path.append({root!r}); from benchmarks._child import main; sys.exit(main(sys.argv[1:]))"


class MeasurementFailure(Exception):
    """A measurement ended without figures."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure schedcore beside APScheduler 3.11.3 and beside the limit, the same work by the barest means.",
        epilog="Prints one line of JSON for each measurement, and at the end the medians and the targets. "
        "Less is better for all figures. The machine should have nothing else to do.",
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"what to measure: {', '.join(GROUPS)} (all)")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, and only the sizes that targets name")
    parser.add_argument("--repeat", type=_positive, metavar="N", help="how often to measure each (5; with --quick 3)")
    parser.add_argument("--json", metavar="FILE", help="write the lines of JSON there, and not to standard output")
    parser.add_argument(
        "--source", type=Path, default=ROOT, metavar="FOLDER", help="measure the schedcore of another checkout"
    )
    options = parser.parse_args(arguments)
    for name in options.groups:
        if name not in GROUPS:
            parser.error(f"there is no group {name!r}; there are: {', '.join(GROUPS)}")
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _child(python: Path, arguments: list[str], stdin: int, stderr: int | None = None) -> subprocess.Popen[str]:
    # A group of its own: Ctrl-C reaches this process alone, which then ends the child.
    return subprocess.Popen(
        [str(python), "-P", "-c", _CHILD.format(root=str(ROOT)), *arguments],
        cwd=ROOT,
        env=variables(),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


@contextmanager
def _shared(python: Path, group: Group, case: Case, size: int) -> Iterator[list[str]]:
    """What the measurements of one size share, as their last argument. Raises ``MeasurementFailure``."""
    if case.share is None:
        yield []
        return
    what = f"{group.name} {case.name}, {size:,}"
    with _child(python, [group.name, case.name, "", str(size)], subprocess.PIPE) as child:
        assert child.stdout is not None
        limit = Timer(case.timeout_s, child.kill)
        limit.start()
        try:
            line = child.stdout.readline()
        finally:
            limit.cancel()
        if not line:
            raise MeasurementFailure(f"{what}: what they share was not made within {case.timeout_s:.0f} s")
        answer = json.loads(line)
        if "missing" in answer:
            raise MeasurementFailure(f"{what}: cannot be done here: {answer['missing']}")
        # Leaving the block ends the child's input, and with that the child.
        yield [answer["shared"]]


def _measure(python: Path, group: Group, case: Case, subject: str, size: int, repeat: int, shared: list[str]) -> Sample:
    """One measurement in a fresh process. Raises ``MeasurementFailure``."""
    what = f"{group.name} {case.name}, {subject}, {size:,}"
    arguments = [group.name, case.name, subject, str(size), *shared]
    with _child(python, arguments, subprocess.DEVNULL, subprocess.PIPE) as child:
        try:
            out, err = child.communicate(timeout=case.timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            raise MeasurementFailure(f"{what}: not over after {case.timeout_s:.0f} s") from None
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        raise MeasurementFailure(f"{what}: exit code {child.returncode}\n{err.rstrip()}")
    *said, last = out.splitlines() or [""]
    try:
        answer = json.loads(last)
    except ValueError:
        raise MeasurementFailure(f"{what}: no figures in {out!r}\n{err.rstrip()}") from None
    for line in said:
        _say(f"  {line}")
    missing = answer.pop("missing", None)
    return Sample(group.name, case.name, size, subject, repeat, answer, missing)


def _samples(python: Path, groups: list[Group], repeats: int, quick: bool) -> Iterator[Sample]:
    """All measurements. One that fails is told and left out; the others go on."""
    for group in groups:
        for case in group.cases:
            times = max(repeats, case.repeats if not quick else min(case.repeats, 7))
            for size in case.quick_sizes if quick else case.sizes:
                started_s = monotonic()
                try:
                    with _shared(python, group, case, size) as shared:
                        yield from _by_turns(python, group, case, size, times, shared)
                except MeasurementFailure as error:
                    _say(f"  failed: {error}")
                took_s = monotonic() - started_s
                _say(f"{group.name} {case.name} ({case.text}), {size:,}: {times} times, {took_s:.0f} s")


def _by_turns(python: Path, group: Group, case: Case, size: int, times: int, shared: list[str]) -> Iterator[Sample]:
    """The measurements of one case and size, subjects by turns: schedcore between those that it is compared with."""
    subjects = sorted(case.subjects, key=lambda subject: subject in LIBRARIES)
    for repeat in range(times):
        for subject in tuple(subjects):
            try:
                sample = _measure(python, group, case, subject, size, repeat, shared)
            except MeasurementFailure as error:
                _say(f"  failed: {error}")
                continue
            if sample.missing is not None:
                _say(f"  {subject} cannot do this here: {sample.missing}")
                subjects.remove(subject)
            yield sample


def main(arguments: list[str] | None = None) -> int:
    """Measure and report; the exit code is 0 whatever the figures, 1 where nothing could be measured, 130 after Ctrl-C."""
    options = _parse(arguments)
    repeats: int = options.repeat or (3 if options.quick else 5)
    groups = [load(name) for name in options.groups or GROUPS]
    try:
        wanted = [requirement for group in groups for requirement in group.requirements]
        python = prepare(options.source.resolve(), wanted, _say)
        output = sys.stdout if options.json is None else open(options.json, "w", encoding="utf-8")  # noqa: SIM115
    except (EnvironmentFailure, OSError) as error:
        _say(f"benchmarks: {error}")
        return 1
    except KeyboardInterrupt:
        _say("benchmarks: stopped by Ctrl-C")
        return 130
    samples: list[Sample] = []
    stopped = False
    try:
        for sample in _samples(python, groups, repeats, options.quick):
            samples.append(sample)
            print(json.dumps(asdict(sample)), file=output, flush=True)
    except KeyboardInterrupt:
        stopped = True
        _say("benchmarks: stopped by Ctrl-C; what was measured until then:")
    finally:
        if output is not sys.stdout:
            output.close()
    middle = medians(samples)
    if middle:
        load_text = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
        print(
            f"\nPython {platform.python_version()}, {os.cpu_count()} processors{load_text}; medians, less is better\n"
        )
        print(figure_table(middle))
        verdicts = [verdict for group in groups for verdict in judge(group, samples, options.quick)]
        if verdicts:
            print()
            print(verdict_table(verdicts))
    if stopped:
        return 130
    return 0 if middle else 1


if __name__ == "__main__":
    sys.exit(main())
