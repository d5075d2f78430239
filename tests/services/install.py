"""Install the servers that are missing here, as far as that is possible without asking anybody.

On Debian and its kin, as root, apt-get brings them. Nothing is started: a policy-rc.d that says no is put in place for as long
as it takes, unless there is one. Elsewhere it is said what is missing. Nothing of this is an error: a test that
needs a server which is not there says so itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.services import SERVICES, ServiceMissing
from tests.services._service import find_program
from tests.services.mongodb import MongoDB

__all__ = ["install"]

POLICY = Path("/usr/sbin/policy-rc.d")
# "Action forbidden by policy", in the terms of invoke-rc.d.
REFUSE = "#!/bin/sh\nexit 101\n"
# Seconds, over a slow line. Also how long to wait for somebody else's installation to end.
UPDATE_S = 300.0
INSTALL_S = 1800.0
LOCK_S = 300


def install(names: Iterable[str] = ()) -> None:
    """Install what is missing of these servers, or of all; say what could not be."""
    wanted = [SERVICES[name] for name in names or SERVICES]
    packages = [
        package for service in wanted if service is not MongoDB and service.missing() for package in service.debian
    ]
    build = MongoDB in wanted and MongoDB.missing() is not None
    if build:
        packages += [package for package, program in (("maven", "mvn"), ("default-jdk-headless", "javac"))
                     if find_program(program) is None]  # fmt: skip
    if packages:
        _from_debian(packages)
    if build:
        say(f"building mongodb in {MongoDB.built()}")
        try:
            MongoDB.build()
        except ServiceMissing as error:
            say(f"not built: {error}")
    for service in wanted:
        if reason := service.missing():
            say(f"{service.name} is missing: {reason}")


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


def _from_debian(packages: list[str]) -> None:
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        return
    if os.geteuid() != 0:
        say(f"not root; this would install the missing servers: {command}")
        return
    say(command)
    if not _apt("update", UPDATE_S):
        say("the list of packages could not be renewed; going on with the one that is there")
    options = ["--yes", "--no-install-recommends", "--option", "Dpkg::Options::=--force-confold"]
    with _nothing_is_started():
        if not _apt("install", INSTALL_S, *options, *packages) and len(packages) > 1:
            # One that this release does not have must not keep the others away.
            for package in packages:
                _apt("install", INSTALL_S, *options, package)


def _apt(verb: str, timeout_s: float, *arguments: str) -> bool:
    # Temporary files go where apt's own user may write, which is not inside the checkout.
    env = {name: value for name, value in os.environ.items() if name not in ("TMPDIR", "TEMP", "TMP")}
    env.update(DEBIAN_FRONTEND="noninteractive", DEBCONF_NONINTERACTIVE_SEEN="true", NEEDRESTART_SUSPEND="1")
    command = ["apt-get", "--quiet=2", "--option", f"DPkg::Lock::Timeout={LOCK_S}", verb, *arguments]
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"apt-get {verb}: {error}")
        return False
    if done.returncode:
        print("\n".join(done.stdout.splitlines()[-10:]), flush=True)
    return done.returncode == 0


@contextlib.contextmanager
def _nothing_is_started() -> Iterator[None]:
    """Keep the packages from starting servers: they are for tests, which start their own."""
    try:
        with open(POLICY, "x", encoding="ascii") as policy:
            policy.write(REFUSE)
    except OSError:
        # There is one already, and it is the administrator's word; or the folder is missing, and with it all of this.
        yield
        return
    try:
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink(missing_ok=True)
