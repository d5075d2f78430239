"""What is missing is asked of apt-get, as root only, without a question and without anything being started."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

import pytest

from tests.services import SERVICES, install

PACKAGES = "mariadb-server-core mariadb-client-core redis-server"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without MariaDB and Redis, whose apt-get writes down how it was called."""
    for name in ("mariadb", "redis"):
        monkeypatch.setattr(SERVICES[name], "missing", classmethod(lambda cls: "not found; Debian has it"))
    for name in ("postgresql", "zookeeper", "etcd", "mongodb"):
        monkeypatch.setattr(SERVICES[name], "missing", classmethod(lambda cls: None))
    programs = tmp_path / "bin"
    programs.mkdir()
    apt = programs / "apt-get"
    folder = shlex.quote(str(tmp_path))
    apt.write_text(
        f'#!/bin/sh\necho "$*" >> {folder}/calls\nls {folder}/policy-rc.d >> {folder}/policies 2>&1\n'
        f'echo "$DEBIAN_FRONTEND $TMPDIR" >> {folder}/env\n'
        "case \"$*\" in *' install '*redis*) echo 'no redis today'; exit 100;; esac\n",
        encoding="utf-8",
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(install, "POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def calls(machine: Path) -> list[str]:
    """What apt-get was asked for, without the options."""
    asked = (machine / "calls").read_text(encoding="utf-8").splitlines()
    return [
        line.partition("Timeout=300 ")[2].replace("--option Dpkg::Options::=--force-confold ", "") for line in asked
    ]


def test_what_is_missing_is_installed_and_what_cannot_be_is_said(bare: Path, capfd: pytest.CaptureFixture[str]) -> None:
    install.install()
    assert calls(bare) == [
        "update",
        f"install --yes --no-install-recommends {PACKAGES}",
        # One that cannot be had does not keep the others away.
        *(f"install --yes --no-install-recommends {package}" for package in PACKAGES.split()),
    ]
    assert set((bare / "env").read_text(encoding="utf-8").splitlines()) == {"noninteractive "}
    out, err = capfd.readouterr()
    assert "no redis today" in out
    assert "==> redis is missing: not found; Debian has it" in out
    assert "postgresql" not in out
    assert err == ""


def test_nothing_is_started_meanwhile_and_the_policy_is_gone_afterwards(bare: Path) -> None:
    install.install(["mariadb"])
    assert (bare / "policies").read_text(encoding="utf-8").splitlines()[1:] == [str(bare / "policy-rc.d")]
    assert not (bare / "policy-rc.d").exists()


def test_a_policy_that_is_there_stays_as_it_is(bare: Path) -> None:
    policy = bare / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    policy.chmod(0o700)
    install.install(["mariadb"])
    assert policy.read_text(encoding="utf-8") == "#!/bin/sh\nexit 0\n"
    assert stat.S_IMODE(policy.stat().st_mode) == 0o700


def test_without_the_right_to_it_is_said_what_would_do(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    install.install()
    assert not (bare / "calls").exists()
    assert f"apt-get install --no-install-recommends {PACKAGES}" in capsys.readouterr().out


def test_where_all_is_there_nothing_is_done_or_said(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install.install(["postgresql", "mongodb"])
    assert not (bare / "calls").exists()
    assert capsys.readouterr().out == ""
