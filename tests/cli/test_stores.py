"""Where jobs and runs are kept."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schedcore.cli import files, stores
from schedcore.cli.stores import StorePlace
from schedcore.errors import ConfigurationError, JobStoreError
from schedcore.schedulers.background import BackgroundScheduler

if TYPE_CHECKING:
    from tests.cli.conftest import World

# A module with a class of somebody's own, and a serializer that knows it.
SHOP = """
from dataclasses import dataclass
from schedcore.serializers import JSONSerializer

@dataclass
class Order:
    number: int

def send(order):
    pass

serializer = JSONSerializer([Order])
"""
JOB = '[[jobs]]\nfunc = "os:getpid"\ninterval = { hours = 1 }\n'


def load(folder: Path, head: str, name: str = "jobs.toml") -> list[StorePlace]:
    path = folder / name
    path.write_text(head + JOB)
    return stores.of_file(files.load(path))


@pytest.mark.parametrize(
    ("name", "store"),
    [("jobs.toml", "jobs.sqlite"), ("JOBS.TOML", "JOBS.sqlite"), ("crontab", "crontab.sqlite"), ("a.b", "a.b.sqlite")],
)
def test_beside(tmp_path: Path, name: str, store: str) -> None:
    place = stores.beside(tmp_path / name)
    assert place.alias == "default"
    assert place.path == str(tmp_path / store)
    assert place.durable


def test_the_file_says_which(tmp_path: Path) -> None:
    head = '[jobstores.default]\ntype = "memory"\n[jobstores.kept]\ntype = "sqlalchemy"\nurl = "sqlite:///data/kept.sqlite"\n'
    default, kept = load(tmp_path, head)
    assert (default.kind, default.durable, str(default)) == ("memory", False, "memory")
    assert kept.path == str(tmp_path / "data" / "kept.sqlite")


def test_a_store_without_default_gets_one(tmp_path: Path) -> None:
    default, kept = load(tmp_path, '[jobstores.kept]\ntype = "sqlalchemy"\nurl = "sqlite:////abs/kept.sqlite"\n')
    assert default.path == str(tmp_path / "jobs.sqlite")
    assert kept.path == "/abs/kept.sqlite"


def test_the_option_wins(tmp_path: Path) -> None:
    path = tmp_path / "jobs.toml"
    path.write_text('[jobstores.default]\ntype = "memory"\n' + JOB)
    (place,) = stores.of_file(files.load(path), str(tmp_path / "x.db"))
    assert place.path == str(tmp_path / "x.db")


class TestOption:
    def test_memory(self) -> None:
        assert not stores.of_option("memory").durable

    def test_relative_paths_start_here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for text in ("x.sqlite", "./x.sqlite", "sqlite:///x.sqlite", "sqlite+pysqlite:///x.sqlite"):
            assert stores.of_option(text).path == str(tmp_path / "x.sqlite")
        assert stores.of_option("sqlite:///x.sqlite?timeout=3").options["url"].endswith("x.sqlite?timeout=3")

    def test_in_memory_is_nobody_elses(self) -> None:
        assert not stores.of_option("sqlite://").durable

    def test_passwords_are_not_shown(self) -> None:
        assert str(stores.of_option("postgresql://me:secret@host/db")) == "postgresql://me:***@host/db"
        assert str(stores.of_option("redis://:secret@host/0")) == "redis://:***@host/0"
        with pytest.raises(ConfigurationError, match=r"redis://:\*\*\*@host/0 is not the URL"):
            stores.of_option("redis://:a/secret@host/0")

    @pytest.mark.parametrize(
        ("url", "options"),
        [
            ("redis://", {"type": "redis"}),
            ("redis://host:7/3", {"type": "redis", "host": "host", "port": 7, "db": 3}),
            (
                "rediss://me:a%40b@host?jobs_key=x.jobs",
                {
                    "type": "redis",
                    "host": "host",
                    "username": "me",
                    "password": "a@b",
                    "ssl": True,
                    "jobs_key": "x.jobs",
                },
            ),
            ("unix:///run/redis.sock?db=2", {"type": "redis", "unix_socket_path": "/run/redis.sock", "db": "2"}),
            (
                "mongodb://me:p@one,two/app?replicaSet=x&collection=c&allowed_refs=a:b",
                {
                    "type": "mongodb",
                    "host": "mongodb://me:p@one,two/app?replicaSet=x",
                    "database": "app",
                    "collection": "c",
                    "allowed_refs": "a:b",
                },
            ),
            ("mongodb+srv://host", {"type": "mongodb", "host": "mongodb+srv://host"}),
            ("etcd://host:2379/app/jobs", {"type": "etcd", "host": "host", "port": 2379, "path": "/app/jobs"}),
            ("etcd://[::1]/", {"type": "etcd", "host": "::1"}),
            (
                "etcd://me:p@host/app?ca_cert=ca.pem",
                {"type": "etcd", "host": "host", "user": "me", "password": "p", "path": "/app", "ca_cert": "ca.pem"},
            ),
            ("zookeeper://a:1,b:2/app", {"type": "zookeeper", "hosts": "a:1,b:2", "path": "/app"}),
            (
                "rethinkdb://me:p@host:28015/app?table=t",
                {
                    "type": "rethinkdb",
                    "host": "host",
                    "port": 28015,
                    "user": "me",
                    "password": "p",
                    "database": "app",
                    "table": "t",
                },
            ),
        ],
    )
    def test_stores_that_are_not_sqlalchemys(self, url: str, options: dict[str, object]) -> None:
        place = stores.of_option(url)
        assert place.options == options
        assert (place.durable, place.path) == (True, None)
        assert str(place) == url.replace(":p@", ":***@").replace(":a%40b@", ":***@")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("redis://me:secret@host/x", r"redis://me:\*\*\*@host/x is not the URL of a job store: invalid literal"),
            ("redis://host:port/0", "is not the URL of a job store: Port could not be"),
            ("zookeeper://me@host", "a user is nothing that it can name"),
            ("", "--store is empty"),
            ("memry", r"give a URL such as sqlite:///jobs\.sqlite.*did you mean 'memory'"),
            ("redis", "give a URL such as redis://host, the path of an SQLite file, or memory$"),
            ("sqlite:jobs.sqlite", "--store sqlite:jobs.sqlite: give a URL such as sqlite:///jobs.sqlite, "),
        ],
    )
    def test_wrong(self, text: str, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            stores.of_option(text)


class TestToRead:
    def make(self, path: Path) -> None:
        path.write_bytes(b"SQLite format 3\0" + bytes(100))

    def test_the_only_store_here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigurationError, match=r"there is no store .* here; give a schedule file, a store"):
            stores.to_read(None, None)
        self.make(tmp_path / "a.sqlite")
        tmp_path.joinpath("text.sqlite").write_text("no database")
        (place,) = stores.to_read(None, None)
        assert place.path == str(tmp_path / "a.sqlite")
        assert str(place) == "a.sqlite"
        self.make(tmp_path / "b.sqlite")
        with pytest.raises(ConfigurationError, match=r"several stores here \(a\.sqlite, b\.sqlite\); say which one"):
            stores.to_read(None, None)

    def test_the_only_store_in_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigurationError, match=rf"there is no store \(\*\.sqlite\) in '{tmp_path}'; give a schedule"
        ):
            stores.to_read(str(tmp_path), None)
        self.make(tmp_path / "a.sqlite")
        (place,) = stores.to_read(str(tmp_path), None)
        assert place.path == str(tmp_path / "a.sqlite")

    @pytest.mark.parametrize("name", ["what?", "100%25", "%41", "a #b&c=d", "ü"])
    def test_a_path_is_taken_as_it_is(self, world: World, name: str) -> None:
        folder = world.folder / name
        folder.mkdir()
        file = folder / "jobs.toml"
        file.write_text('[[jobs]]\nid = "a"\ncommand = "true"\ndate = 2030-01-01\n')
        other = folder / "other%20 name?.sqlite"
        world.invoke("run", file, "--for", "0")
        world.invoke("run", file, "--for", "0", "--store", other)
        assert sorted(path.name for path in folder.glob("*.sqlite")) == ["jobs.sqlite", other.name]
        assert '"id": "a"' in world.invoke("jobs", file, "--json").stdout
        assert '"id": "a"' in world.invoke("jobs", other, "--json").stdout

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on this system")
    def test_beside_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(
            ConfigurationError, match=r"pipe' is no file that a store could be beside; give one with --store"
        ):
            stores.beside(tmp_path / "pipe")

    def test_a_crontab_is_not_parsed(self, tmp_path: Path) -> None:
        tmp_path.joinpath("crontab").write_text("* * * * * nobody x\n")
        (place,) = stores.to_read(str(tmp_path / "crontab"), None)
        assert place.path == str(tmp_path / "crontab.sqlite")

    def test_a_file_of_stores_alone(self, world: World) -> None:
        """Of a signed store each record looks broken to whoever has no keys, which a URL cannot say."""
        file = world.folder / "jobs.toml"
        looking = world.folder / "stores.toml"
        signed = '[jobstores.signed]\ntype = "sqlalchemy"\nurl = "sqlite:///kept.sqlite"\nsigning_key = '
        first, second = "'the first key of all'", "'another key than that'"
        job = '[[jobs]]\nid = "a"\njobstore = "signed"\ncommand = "true"\ndate = 2030-01-01\n'

        def states(keys: str) -> list[str]:
            looking.write_text(signed + keys)
            done = world.invoke("jobs", looking, "--json")
            return [found["state"] for found in json.loads(done.stdout) if found["id"] == "a"]

        file.write_text(f"{signed}{first}\n{job}")
        world.invoke("run", file, "--for", "0")
        assert states(first) == states(f"[{second}, {first}]") == ["active"]
        assert states(second) == ["broken"]
        # The schedule has what it adds signed anew.
        file.write_text(f"{signed}[{second}, {first}]\n{job}")
        world.invoke("run", file, "--for", "0")
        assert states(second) == ["active"]
        assert "has no jobs" in world.invoke("run", looking, "--for", "0", code=2).stderr

    def test_classes_that_are_registered(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who looks has to know them, too: a text leads to the serializer, in a module beside the file."""
        world.folder.joinpath("shop.py").write_text(SHOP)
        store = '[jobstores.default]\ntype = "sqlalchemy"\nurl = "sqlite:///shop.sqlite"\n'
        looking = world.folder / "stores.toml"
        with monkeypatch.context() as patch:
            patch.syspath_prepend(world.folder)
            shop = import_module("shop")
            kept = {
                "type": "sqlalchemy",
                "url": f"sqlite:///{world.folder}/shop.sqlite",
                "serializer": "shop:serializer",
            }
            scheduler = BackgroundScheduler(jobstores={"default": kept}, timezone="UTC")
            scheduler.start(paused=True)
            scheduler.add_job(shop.send, "date", run_date="2099-01-01", id="a", args=[shop.Order(7)])
            scheduler.shutdown()
        monkeypatch.delitem(sys.modules, "shop")

        def shown(options: str) -> list[tuple[str, str | None]]:
            looking.write_text(store + options)
            done = world.invoke("jobs", looking, "--json")
            return [(found["state"], found["reason"]) for found in json.loads(done.stdout)]

        ((state, reason),) = shown("")
        assert state == "broken"
        assert reason is not None
        assert "the type 'shop:Order' is not registered here" in reason
        assert shown('serializer = "shop:serializer"\n') == [("active", None)]
        monkeypatch.delitem(sys.modules, "shop", raising=False)
        assert str(world.folder) not in sys.path

    def test_memory_cannot_be_read(self, tmp_path: Path) -> None:
        path = tmp_path / "jobs.toml"
        path.write_text('[jobstores.default]\ntype = "memory"\n' + JOB)
        with pytest.raises(ConfigurationError, match="kept in memory; only the process that runs them sees them"):
            stores.to_read(str(path), None)

    def test_memory_cannot_be_asked_for(self) -> None:
        with pytest.raises(ConfigurationError, match=r"--store memory: .* seen by nobody but the process that runs it"):
            stores.to_read(None, "memory")

    @pytest.mark.parametrize("content", [b"", b"no database", bytes(8192)])
    def test_a_file_that_is_no_store(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "jobs.sqlite"
        path.write_bytes(content)
        (place,) = stores.to_read(str(path), None)
        assert place.path == str(path)
        with pytest.raises(JobStoreError, match=r"is not an SQLite database|has no tables"), stores.Reader(place):
            pass

    def test_nothing_there(self) -> None:
        with pytest.raises(ConfigurationError, match="there is no schedule file and no store 'nix'"):
            stores.to_read("nix", None)

    def test_a_store_that_is_not_there_yet(self, tmp_path: Path) -> None:
        tmp_path.joinpath("crontab").write_text("* * * * * x\n")
        (place,) = stores.to_read(str(tmp_path / "crontab"), None)
        with pytest.raises(stores.StoreMissingError, match=r"`schedcore run` makes it"), stores.Reader(place):
            pass
        assert os.listdir(tmp_path) == ["crontab"]
