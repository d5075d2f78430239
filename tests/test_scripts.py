"""The two scripts that a newcomer runs first: where they look, what they tell uv, and how they end."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-ins for interpreters are shell scripts")


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_bootstrap", SCRIPTS / "_bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stand_in(folder: Path, name: str, body: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_interpreters_are_found_on_path_and_among_those_of_pyenv_and_uv(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shims, pyenv, uv = tmp_path / "shims", tmp_path / "pyenv", tmp_path / "uv"
    stand_in(shims, "python3.12", "echo 'python3.12: command not found' >&2; exit 127")
    on_path = stand_in(shims, "python3.11", "echo cpython 3 11 7")
    stand_in(shims, "python3.10", "echo cpython 3 10 1")
    stand_in(shims, "python3.14", "echo pypy 3 14 0")
    stand_in(pyenv / "versions" / "3.12.1" / "bin", "python3.12", "echo cpython 3 12 1")
    newest = stand_in(pyenv / "versions" / "3.12.9" / "bin", "python3.12", "echo cpython 3 12 9")
    managed = stand_in(uv / "cpython-3.13" / "bin", "python3.13", "echo cpython 3 13 0")
    monkeypatch.setenv("PATH", os.pathsep.join([str(shims), str(tmp_path / "nowhere")]))
    monkeypatch.setenv("PYENV_ROOT", str(pyenv))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(uv))
    assert bootstrap.find_interpreters() == {(3, 11): on_path, (3, 12): newest, (3, 13): managed}


def test_an_interpreter_that_hangs_is_passed_over(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "PROBE_S", 0.05)
    assert bootstrap.probe(stand_in(tmp_path, "python3.12", "exec sleep 20")) is None
    assert bootstrap.probe(tmp_path / "python3.13") is None


def test_uv_is_told_what_pip_knows(bootstrap: ModuleType) -> None:
    # pip parts what it lists at spaces, which the folder for temporary files may have.
    listing = """
global.index-url='https://global.invalid/simple'
global.timeout='60'
install.index-url='https://install.invalid/simple'
global.extra-index-url='\\nhttps://one.invalid/simple\\nhttps://two.invalid/simple'
:env:.cert='/etc/ca.pem'
:env:.find-links='/ /no/such/folder https://links.invalid/'
global.trusted-host='one.invalid'
global.no-index='false'
"""
    assert bootstrap.uv_settings(listing, {}) == {
        "UV_DEFAULT_INDEX": "https://install.invalid/simple",
        "UV_INDEX": "https://one.invalid/simple https://two.invalid/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "one.invalid",
        "UV_FIND_LINKS": "/,https://links.invalid/",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }


def test_what_uv_was_told_already_stands(bootstrap: ModuleType) -> None:
    listing = "global.index-url='https://pip.invalid/simple'\nglobal.no-index='true'\n"
    given = {"UV_DEFAULT_INDEX": "https://uv.invalid/simple"}
    assert bootstrap.uv_settings(listing, given) == {"UV_NO_INDEX": "1"}
    assert bootstrap.uv_settings("", {}) == {}


def test_caches_and_temporary_files_stay_inside_the_checkout(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / ".cache"
    monkeypatch.setattr(bootstrap, "CACHE", cache)
    monkeypatch.setenv("VIRTUAL_ENV", "another")
    with bootstrap.scratch() as env:
        inside = ["PIP_CACHE_DIR", "TEMP", "TMP", "TMPDIR", "UV_CACHE_DIR", "VIRTUALENV_OVERRIDE_APP_DATA"]
        assert [name for name in inside if not Path(env[name]).is_relative_to(cache)] == []
        assert "VIRTUAL_ENV" not in env
        assert Path(env["TMPDIR"]).is_dir()
    assert not Path(env["TMPDIR"]).exists()
    assert cache.joinpath(".gitignore").read_text(encoding="ascii") == "*\n"


def test_a_package_server_is_asked_often_unless_the_user_says_how_often(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "CACHE", tmp_path / ".cache")
    monkeypatch.delenv("UV_HTTP_RETRIES", raising=False)
    monkeypatch.setenv("PIP_RETRIES", "1")
    with bootstrap.scratch() as env:
        assert (env["UV_HTTP_RETRIES"], env["PIP_RETRIES"]) == ("10", "1")


def test_the_exit_code_is_that_of_the_command(bootstrap: ModuleType) -> None:
    def run(code: str) -> int:
        return int(bootstrap.run([sys.executable, "-c", code], os.environ))

    assert run("import sys; sys.exit(0)") == 0
    assert run("import sys; sys.exit(3)") == 3
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, "demo: stopped by Ctrl-C"), (signal.SIGTERM, 7, "")],
)
def test_a_signal_lets_the_command_clean_up_and_ends_in_one_line(number: int, code: int, words: str) -> None:
    child = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "try:\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(40)\n"
        "except KeyboardInterrupt: sys.exit(2)\n"
        "finally: print('cleaned up', flush=True)\n"
    )
    parent = (
        "import os, sys\n"
        "import _bootstrap\n"
        f"_bootstrap.main('demo', lambda _: _bootstrap.run([sys.executable, '-c', {child!r}], os.environ))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent],
        cwd=SCRIPTS,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        output, errors = process.communicate(timeout=150)
    assert (process.returncode, output) == (code, "cleaned up\n")
    assert errors.strip().startswith(words)
    assert len(errors.strip().splitlines()) == (1 if words else 0)


def test_an_expected_failure_is_one_line(
    bootstrap: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def body(arguments: list[str]) -> int:
        raise bootstrap.BootstrapError("pip could not install what is needed")

    monkeypatch.setattr(sys, "argv", ["demo"])
    with pytest.raises(SystemExit) as ended:
        bootstrap.main("demo", body)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "demo: pip could not install what is needed\n"
