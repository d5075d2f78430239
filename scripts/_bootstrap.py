"""What ``quickstart.py`` and ``test.py`` share: a virtual environment inside the checkout, and commands run in it.

Rules:

* Nothing is written outside the checkout: environments, download caches and temporary files are in ``.venv``, ``.tox`` and
  ``.cache``. Deleting the checkout deletes all of it.
* pip's own configuration decides where packages come from. uv does not read it, so it is said again in uv's words.
* An environment is ready when its stamp says so; the stamp is written last. A run that was interrupted leaves none, and the
  next one installs again over what is there.
* Only the standard library, and syntax that Python 3.7 can still read, so that an old interpreter can say what it lacks.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

__all__ = [
    "CACHE",
    "ROOT",
    "BootstrapError",
    "ensure_environment",
    "find_interpreters",
    "main",
    "require_python",
    "run",
    "say",
    "scratch",
    "uv_settings",
]

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
OLDEST = (3, 11)
WINDOWS = os.name == "nt"
# Seconds. An interpreter that has not answered by then (a shim on a dead network drive) is not one to test with.
PROBE_S = 10.0


class BootstrapError(Exception):
    """Something that the reader has to mend; the message says what, in one line."""


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


def main(name: str, body: Callable[[list[str]], int]) -> None:
    """Call ``body(arguments)`` and exit with its code. Ctrl-C and expected failures end in one line."""
    try:
        require_python()
        code = body(sys.argv[1:])
    except BootstrapError as error:
        print(f"{name}: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print(f"\n{name}: stopped by Ctrl-C; the next run goes on from here", file=sys.stderr)
        code = 130
    sys.exit(code)


def require_python() -> None:
    """Return when this interpreter is new enough; else go on under one that is, or say that there is none."""
    if sys.version_info[:2] >= OLDEST:
        return
    this = "{}.{}".format(*sys.version_info[:2])
    newer = find_interpreters()
    if not newer:
        wanted = "{}.{}".format(*OLDEST)
        raise BootstrapError(f"Python {wanted} or newer is needed; this is {this}, and no other was found")
    chosen = newer[max(newer)]
    say(f"Python {this} is too old; going on with {chosen}")
    os.execv(str(chosen), [str(chosen), *sys.argv])


# --- interpreters ---------------------------------------------------------------------------------------------------


def find_interpreters() -> dict[tuple[int, ...], Path]:
    """The newest working CPython of each minor version from 3.11 on: ``{(3, 12): path}``.

    Looked for on PATH, among pyenv's versions and among uv's. A candidate must start and name its version: pyenv's
    shims, for one, are on PATH for versions that they refuse to run.
    """
    home = Path.home()
    folders = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    folders += sorted(Path(os.environ.get("PYENV_ROOT") or home / ".pyenv").glob("versions/*/bin"))
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    folders += sorted(Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python").glob("*/bin"))
    found: dict[tuple[int, ...], tuple[tuple[int, ...], Path]] = {}
    for folder in dict.fromkeys(folders):
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        for entry in entries:
            name = re.fullmatch(r"python3\.(\d+)", entry.name)
            if name is None or (3, int(name.group(1))) < OLDEST:
                continue
            version = probe(entry)
            if version is not None and (version[:2] not in found or version > found[version[:2]][0]):
                found[version[:2]] = (version, entry)
    return {minor: path for minor, (_, path) in found.items()}


def probe(python: Path) -> tuple[int, ...] | None:
    """The version of a CPython, or None when it does not run or is something else."""
    code = "import sys; print(sys.implementation.name, *sys.version_info[:3])"
    command = [str(python), "-I", "-c", code]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split()
    if done.returncode or len(words) != 4 or words[0] != "cpython":
        return None
    return tuple(int(word) for word in words[1:])


# --- environments ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def scratch() -> Iterator[dict[str, str]]:
    """Variables for the commands to run, under which their caches and temporary files stay inside the checkout.

    The temporary files are gone afterwards; the caches stay for the next time.
    """
    CACHE.mkdir(exist_ok=True)
    CACHE.joinpath(".gitignore").write_text("*\n", encoding="ascii")
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=CACHE, ignore_cleanup_errors=True) as folder:
        env = dict(os.environ)
        for name in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"):
            env.pop(name, None)
        for name in ("TMPDIR", "TEMP", "TMP"):
            env[name] = folder
        env["PIP_CACHE_DIR"] = str(CACHE / "pip")
        env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
        env["UV_CACHE_DIR"] = str(CACHE / "uv")
        # A package server that is slow or away for a moment makes no change wrong. (uv's usual values are 30 s and 3, pip's 5.)
        for name, value in (("UV_HTTP_TIMEOUT", "120"), ("UV_HTTP_RETRIES", "10"), ("PIP_RETRIES", "10")):
            env.setdefault(name, value)
        # An interpreter that is not there is skipped: uv would put one into the home directory.
        env["UV_PYTHON_DOWNLOADS"] = "never"
        env["VIRTUALENV_OVERRIDE_APP_DATA"] = str(CACHE / "virtualenv")
        yield env


def ensure_environment(folder: Path, requirements: Sequence[str], env: Mapping[str, str], because: str = "") -> Path:
    """A virtual environment in ``folder`` that has ``requirements``; the path of its interpreter.

    ``because`` is text on which the installation depends beside the requirements: when it changes, they are
    installed again.
    """
    python = folder.joinpath(*(("Scripts", "python.exe") if WINDOWS else ("bin", "python")))
    stamp = folder / ".schedcore-ready"
    wanted = hashlib.sha256("\n".join([str(folder), *requirements, because]).encode()).hexdigest()
    with contextlib.suppress(OSError):
        if stamp.read_text(encoding="ascii") == wanted and probe(python):
            return python
    if not has_pip(python):
        say(f"setting up {folder.relative_to(ROOT)}")
        # --clear: what an interrupted run left, or an interpreter that is gone since, is not built upon.
        if run([sys.executable, "-m", "venv", "--clear", folder], env, quiet=True):
            raise BootstrapError(
                "no virtual environment could be made (see above); "
                "Debian and Ubuntu have what it needs in the package python3-venv"
            )
    say(f"installing {' '.join(requirements)}")
    if run([python, "-m", "pip", "install", "--quiet", *requirements], env):
        raise BootstrapError("pip could not install what is needed (see above); `pip config list` says where it looks")
    stamp.write_text(wanted, encoding="ascii")
    return python


def has_pip(python: Path) -> bool:
    """Whether this environment works and pip can install into it."""
    try:
        return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def uv_settings(listing: str, given: Mapping[str, str]) -> dict[str, str]:
    """The variables that tell uv what ``pip config list`` printed, save those that are set already.

    pip merges its files and variables: the command's section wins over ``global``, a variable (``:env:``) over both.
    """
    values: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for line in listing.splitlines():
            name, _, value = line.partition("=")
            where, _, option = name.rpartition(".")
            if where == section:
                with contextlib.suppress(ValueError, SyntaxError):
                    values[option] = str(ast.literal_eval(value))
    settings: dict[str, str] = {}
    for option, variable in (("index-url", "UV_DEFAULT_INDEX"), ("cert", "SSL_CERT_FILE")):
        if values.get(option):
            settings[variable] = values[option]
    if values.get("extra-index-url"):
        settings["UV_INDEX"] = " ".join(values["extra-index-url"].split())
        # pip takes the best version from all of its indexes; uv by itself stops at the first that knows the name.
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if values.get("trusted-host"):
        settings["UV_INSECURE_HOST"] = " ".join(values["trusted-host"].split())
    if values.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        settings["UV_NO_INDEX"] = "1"
    # pip passes over a folder that is not there; to uv it is an error.
    links = [link for link in values.get("find-links", "").split() if "://" in link or os.path.exists(link)]
    if links:
        settings["UV_FIND_LINKS"] = ",".join(links)
    return {variable: value for variable, value in settings.items() if variable not in given}


def run(command: Sequence[str | Path], env: Mapping[str, str], quiet: bool = False) -> int:
    """Run a command from the root of the checkout; its exit code, as a shell would give it.

    Ctrl-C reaches it from the terminal, and a SIGTERM sent to this process is passed on: either way it gets to clean up
    before this returns. With ``quiet`` its output is shown only if it failed by itself.
    """
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(tempfile.TemporaryFile(dir=CACHE)) if quiet else None
        started: list[subprocess.Popen[bytes]] = []
        told_to_end = interrupted = False

        def note(number: int, frame: FrameType | None) -> None:
            # An exception instead could come when the command was reaped and its exit code not yet kept.
            nonlocal interrupted
            interrupted = True

        def pass_on(number: int, frame: FrameType | None) -> None:
            nonlocal told_to_end
            told_to_end = True
            for process in started:
                process.terminate()

        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, pass_on))
        stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, note))
        process = subprocess.Popen(
            [str(part) for part in command], cwd=ROOT, env=dict(env), stdout=output, stderr=output
        )
        started.append(process)
        if told_to_end:  # while it started
            process.terminate()
        code = process.wait()
        if interrupted and code:
            raise KeyboardInterrupt
        if code and output is not None:
            output.seek(0)
            sys.stderr.write(output.read().decode(errors="replace"))
        return code if code >= 0 else 128 - code
