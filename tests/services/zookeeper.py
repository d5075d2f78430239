"""ZooKeeper."""

from __future__ import annotations

from pathlib import Path

from tests.services._service import HOST, Service, find_program

__all__ = ["JAVA_OPTIONS", "SHORT_LIFE", "ZooKeeper"]

# Debian's; its manifest names the other jars.
JAR = Path("/usr/share/java/zookeeper.jar")
#: A virtual machine that need not become fast starts sooner, and one thread is enough to collect its garbage.
SHORT_LIFE = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xmx256m")
# Nothing is left in the system's folder for temporary files: what they write goes to where they are started.
JAVA_OPTIONS = (*SHORT_LIFE, "-XX:-UsePerfData", "-Djava.io.tmpdir=.")

CONFIGURATION = """
dataDir={data}
clientPort={port}
clientPortAddress={host}
# Milliseconds. Sessions last from 2 to 20 ticks where not said otherwise.
tickTime=500
minSessionTimeout=500
maxSessionTimeout=120000
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=ruok,srvr,mntr,cons,wchs
"""
LOGGING = """
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %p %c: %m%n
"""


class ZooKeeper(Service):
    """``place.name`` is the path of a node that is there; as a client's host: ``f"{place.host}:{place.port}/{place.name}"``."""

    name = "zookeeper"
    scheme = "zookeeper"
    debian = ("zookeeper",)

    @classmethod
    def missing(cls) -> str | None:
        absent = [str(JAR)] if not JAR.exists() else []
        absent += ["java"] if find_program("java") is None else []
        return f"{' and '.join(absent)} not found; Debian has them in the package zookeeper" if absent else None

    def prepare(self) -> None:
        folder = Path(self._folder("conf"))
        text = CONFIGURATION.format(data=self._folder("data"), port=self.port, host=HOST)
        folder.joinpath("zoo.cfg").write_text(text, encoding="utf-8")
        folder.joinpath("log4j.properties").write_text(LOGGING, encoding="utf-8")

    def command(self) -> list[str]:
        java = find_program("java")
        assert java is not None
        folder = self._folder("conf")
        return [
            java,
            *JAVA_OPTIONS,
            "-Dzookeeper.forceSync=no",
            "-Dzookeeper.preAllocSize=1024",  # KiB by which its log grows
            "-cp",
            f"{folder}:{JAR}",
            "org.apache.zookeeper.server.ZooKeeperServerMain",
            f"{folder}/zoo.cfg",
        ]

    def ask(self) -> bool:
        return b"Mode: standalone" in self.exchange(b"srvr", enough=1 << 16)

    def make_name(self, number: int) -> str:
        from kazoo.client import KazooClient  # type: ignore[import-untyped]

        name = f"test_{number}"
        client = KazooClient(hosts=f"{HOST}:{self.port}")
        client.start(timeout=20)
        try:
            client.create(f"/{name}")
        finally:
            client.stop()
            client.close()
        return name
