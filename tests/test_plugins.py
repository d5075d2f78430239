from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from schedcore import plugins
from schedcore.errors import ConfigurationError, MissingExtraError, UnknownPluginError
from schedcore.plugins import EXECUTORS, JOBSTORES, TRIGGERS, alias_of, known, load

MODULE = """
class MoonTrigger: pass
class OtherTrigger: pass
class DateTrigger: pass
not_a_class = 3
"""


def announce(folder: Path, package: str, entry_points: str) -> None:
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path in which packages may be announced; what was loaded from it is forgotten afterwards."""
    (tmp_path / "plug_moon.py").write_text(MODULE)
    (tmp_path / "plug_needy.py").write_text("import plug_not_installed")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "_loaded", {group: {} for group in plugins._loaded})
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("plug_")]:
        del sys.modules[name]
    for aliases in plugins._aliases.values():
        aliases.clear()


@pytest.fixture
def no_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> Any:
        raise AssertionError("metadata was read")

    monkeypatch.setattr(metadata, "entry_points", refuse)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A built-in table under test control."""
    entries = {"moon": "plug_moon:MoonTrigger", "needy": "plug_needy:Trigger", "own": "schedcore.no_such_module:X"}
    monkeypatch.setitem(plugins._BUILTIN, TRIGGERS, entries)
    return entries


def test_a_builtin_needs_no_metadata(site: Path, table: dict[str, str], no_metadata: None) -> None:
    cls = load(TRIGGERS, "moon")
    assert cls.__name__ == "MoonTrigger"
    assert load(TRIGGERS, "moon") is cls
    assert alias_of(TRIGGERS, cls) == "moon"


def test_the_reverse_look_up_imports_nothing(site: Path, table: dict[str, str], no_metadata: None) -> None:
    import importlib

    cls = importlib.import_module("plug_moon").MoonTrigger
    assert alias_of(TRIGGERS, cls) == "moon"
    assert "plug_needy" not in sys.modules


def test_a_missing_dependency_names_the_extra(site: Path, table: dict[str, str]) -> None:
    with pytest.raises(
        MissingExtraError, match=r"the trigger 'needy' needs .* pip install 'schedcore\[needy\]'"
    ) as caught:
        load(TRIGGERS, "needy")
    assert caught.value.extra == "needy"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_fault_of_ours_is_not_blamed_on_an_extra(site: Path, table: dict[str, str]) -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        load(TRIGGERS, "own")
    assert not isinstance(caught.value, MissingExtraError)


@pytest.mark.parametrize("group", [TRIGGERS, EXECUTORS, JOBSTORES])
def test_every_builtin_is_known(group: str) -> None:
    names = known(group)
    assert names == sorted(names)
    assert set(plugins._BUILTIN[group]) <= set(names)


@pytest.mark.parametrize(
    ("group", "alias", "words"),
    [
        (TRIGGERS, "crom", "there is no trigger 'crom'; did you mean 'cron'"),
        (EXECUTORS, "threads", "there is no executor 'threads'; did you mean 'threadpool'"),
        (JOBSTORES, "sqlachemy", "there is no job store 'sqlachemy'; did you mean 'sqlalchemy'"),
        (TRIGGERS, "xyz", "there is no trigger 'xyz'; known: .*cron, date, .*interval"),
        (TRIGGERS, "", "there is no trigger ''; known"),
        (TRIGGERS, "*/5 * * * *", r"no trigger '\*/5 \* \* \* \*'; crontab text is for CronTrigger.from_crontab$"),
        (TRIGGERS, "@daily", r"no trigger '@daily'; crontab text is for CronTrigger.from_crontab$"),
        ("triggers", "cron", "there is no plug-in group 'triggers'; did you mean 'schedcore.triggers'"),
    ],
)
def test_unknown_names_have_a_suggestion(group: str, alias: str, words: str) -> None:
    with pytest.raises(UnknownPluginError, match=words) as caught:
        load(group, alias)
    assert caught.value.__context__ is None  # no other traceback above it


def test_unknown_groups_are_refused_everywhere() -> None:
    with pytest.raises(UnknownPluginError):
        known("x")
    with pytest.raises(UnknownPluginError):
        alias_of("x", int)


def test_an_installed_plugin(site: Path) -> None:
    announce(site, "moon", "[schedcore.triggers]\nmoon = plug_moon:MoonTrigger\n")
    assert "moon" in known(TRIGGERS)
    assert "plug_moon" not in sys.modules
    cls = load(TRIGGERS, "moon")
    assert cls.__name__ == "MoonTrigger"
    assert alias_of(TRIGGERS, cls) == "moon"
    with pytest.raises(UnknownPluginError):
        load(EXECUTORS, "moon")


def test_an_installed_plugin_has_an_alias_before_it_was_loaded(site: Path) -> None:
    announce(site, "moon", "[schedcore.triggers]\nmoon = plug_moon:MoonTrigger [extra]\nneedy = plug_needy:X\n")
    import importlib

    module = importlib.import_module("plug_moon")
    assert alias_of(TRIGGERS, module.MoonTrigger) == "moon"
    assert alias_of(TRIGGERS, module.OtherTrigger) is None
    assert alias_of(TRIGGERS, type("Sub", (module.MoonTrigger,), {})) is None
    assert alias_of(EXECUTORS, module.MoonTrigger) is None
    assert "plug_needy" not in sys.modules


def test_loading_settles_an_alias_that_could_not_be_told_before(site: Path) -> None:
    (site / "plug_front.py").write_text("from plug_moon import MoonTrigger")
    announce(site, "moon", "[schedcore.triggers]\nmoon = plug_front:MoonTrigger\n")
    import importlib

    cls = importlib.import_module("plug_moon").MoonTrigger
    assert alias_of(TRIGGERS, cls) is None
    assert load(TRIGGERS, "moon") is cls
    assert alias_of(TRIGGERS, cls) == "moon"


def test_an_installed_plugin_cannot_take_a_builtin_alias(site: Path, table: dict[str, str]) -> None:
    table["moon"] = "plug_moon:OtherTrigger"
    announce(site, "bad", "[schedcore.triggers]\nmoon = plug_moon:MoonTrigger\n")
    cls = load(TRIGGERS, "moon")
    assert cls.__name__ == "OtherTrigger"
    import importlib

    assert alias_of(TRIGGERS, importlib.import_module("plug_moon").MoonTrigger) is None
    assert known(TRIGGERS).count("moon") == 1


def test_two_packages_that_claim_one_alias(site: Path) -> None:
    announce(site, "one", "[schedcore.triggers]\nmoon = plug_moon:MoonTrigger\n")
    announce(site, "two", "[schedcore.triggers]\nmoon = plug_moon:OtherTrigger\n")
    with pytest.raises(ConfigurationError, match=r"'moon' is claimed by several .*package 'one'.*package 'two'"):
        load(TRIGGERS, "moon")


def test_one_package_that_is_found_twice(site: Path) -> None:
    announce(site, "one", "[schedcore.triggers]\nmoon = plug_moon:MoonTrigger\n")
    announce(site, "two", "[schedcore.triggers]\nmoon = plug_moon:MoonTrigger\n")
    assert load(TRIGGERS, "moon").__name__ == "MoonTrigger"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("plug_moon:NoSuch", "'moon' of package 'one' cannot be loaded from 'plug_moon:NoSuch': AttributeError"),
        ("plug_needy:X", "cannot be loaded from 'plug_needy:X': ModuleNotFoundError"),
        ("plug_moon:not_a_class", "of package 'one' is 3, not a class"),
    ],
)
def test_a_plugin_that_cannot_be_loaded(site: Path, target: str, words: str) -> None:
    announce(site, "one", f"[schedcore.triggers]\nmoon = {target}\n")
    with pytest.raises(UnknownPluginError, match=words):
        load(TRIGGERS, "moon")


def test_a_class_without_alias_is_not_kept_alive() -> None:
    import gc
    import weakref

    cls = type("Short", (), {})
    assert alias_of(TRIGGERS, cls) is None
    gone = weakref.ref(cls)
    del cls
    gc.collect()
    assert gone() is None
