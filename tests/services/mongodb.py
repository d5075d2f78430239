"""A server that speaks MongoDB's protocol: mongo-java-server, which keeps its data in a file of H2's.

MongoDB itself is in no package registry that a checkout can rely on, so one of those that speak its protocol has to do. What
was compared, each driven with pymongo 4.20:

* FerretDB 1.24.2 over SQLite. An update is a query and a write with nothing to hold them together: eight clients that each
  added one to the same number a hundred times, by ``find_one_and_update``, made it 138. A store whose claims
  rest on that cannot be tested there. It compiles in a minute.
* mongo-java-server 1.47 over H2, with the few lines of ``MongoServer.java``: 800 of 800, and nothing confirmed is
  lost by a kill. It is fetched and compiled in seconds.

What it is not: it has no sessions, transactions and change streams, does not know ``explain``, ``hello`` (pymongo's older
greeting it knows) and updates by a pipeline, takes array filters, and keeps no index but unique ones: a query
that names no id reads its whole collection. ``partialFilterExpression`` is accepted and ignored.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from tests.services._service import BUILT, Service, ServiceMissing, find_program
from tests.services.zookeeper import JAVA_OPTIONS

__all__ = ["MongoDB"]

SOURCE = Path(__file__).with_name("MongoServer.java")
VERSION = "1.47.0"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
PROJECT = f"""<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>schedcore.tests</groupId>
  <artifactId>mongodb</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>de.bwaldvogel</groupId>
      <artifactId>mongo-java-server-h2-backend</artifactId>
      <version>{VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""
# Seconds to fetch what Maven needs and what it is asked for, over a slow line.
FETCH_S = 600.0
COMPILE_S = 120.0

# {ping: 1, $db: "admin"} as BSON, in a message of one section: length, request, response to, OP_MSG, flags, kind of section.
_PING = b"\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0"
_PING = struct.pack("<i", len(_PING) + 4) + _PING
_PING = struct.pack("<iiiiiB", 21 + len(_PING), 1, 0, 2013, 0, 0) + _PING
_OK = b"\x01ok\0" + struct.pack("<d", 1.0)


class MongoDB(Service):
    """``place.name`` is a database."""

    name = "mongodb"
    scheme = "mongodb"
    debian = ("maven", "default-jdk-headless")

    @classmethod
    def built(cls) -> Path:
        """Where the server is when it was built: a folder for each of its sources."""
        return BUILT / "mongodb-{}".format(
            hashlib.sha256((VERSION + SOURCE.read_text("utf-8")).encode()).hexdigest()[:12]
        )

    @classmethod
    def missing(cls) -> str | None:
        if find_program("java") is None:
            return "java not found; Debian has it in the package default-jre-headless"
        if not cls.built().is_dir():
            return "mongo-java-server is not built; `python -m tests.services install mongodb` does it with Maven and a JDK"
        return None

    @classmethod
    def build(cls) -> None:
        """Fetch the server and compile what is ours of it. ServiceMissing says what that needs and is not here."""
        absent = [name for name in ("mvn", "java", "javac") if find_program(name) is None]
        if absent:
            raise ServiceMissing(
                f"{' and '.join(absent)} not found; Debian has them in the packages maven and default-jdk-headless"
            )
        BUILT.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=BUILT) as scratch:
            project, jars, made = Path(scratch, "pom.xml"), Path(scratch, "made", "jars"), Path(scratch, "made")
            project.write_text(PROJECT, encoding="utf-8")
            repository = f"-Dmaven.repo.local={BUILT / 'maven'}"
            fetch = ["mvn", "--batch-mode", "--quiet", "-Dstyle.color=never", "--file", str(project), repository, COPY]
            _build([*fetch, f"-DoutputDirectory={jars}", "-DincludeScope=runtime"], FETCH_S)
            _build(["javac", "-cp", f"{jars}/*", "-d", str(made), str(SOURCE)], COMPILE_S)
            for old in set(BUILT.glob("mongodb-*")) - {cls.built()}:
                shutil.rmtree(old, ignore_errors=True)
            try:
                made.rename(cls.built())
            except OSError:
                if not cls.built().is_dir():  # else somebody else was quicker
                    raise

    def command(self) -> list[str]:
        java = find_program("java")
        assert java is not None
        built = self.built()
        path = os.pathsep.join([str(built), f"{built}/jars/*"])
        return [java, *JAVA_OPTIONS, "-cp", path, "MongoServer", str(self.port), f"{self._folder('data')}/database"]

    def ask(self) -> bool:
        return _OK in self.exchange(_PING, enough=38)

    def make_name(self, number: int) -> str:
        return f"test_{number}"


def _build(command: list[str], timeout_s: float) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServiceMissing(f"{command[0]} was not done after {timeout_s:g} s") from None
    if done.returncode:
        raise ServiceMissing(f"{command[0]} failed:\n" + "\n".join(done.stdout.splitlines()[-10:]))
