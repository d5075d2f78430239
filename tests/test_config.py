from __future__ import annotations

import configparser
import logging
from collections.abc import Callable
from datetime import timedelta, timezone
from types import MappingProxyType
from typing import Any, Optional, Union
from zoneinfo import ZoneInfo

import pytest

from schedcore import plugins
from schedcore.config import (
    ComponentSpec,
    JobDefaults,
    SchedulerConfig,
    as_bool,
    as_is,
    as_number,
    as_text,
    as_whole_number,
    build,
    component,
    parse,
)
from schedcore.errors import (
    ConfigurationError,
    JobStoreError,
    ReferenceLookupError,
    UnknownOptionError,
    UnknownPluginError,
)

LOGGER = logging.getLogger("a logger that a reference leads to")
EXTRA: dict[str, Callable[[object], object]] = {"daemon": as_bool}


class Pool:
    def __init__(self, max_workers: int = 10, pool_kwargs: dict[str, Any] | None = None) -> None:
        if max_workers > 100:
            raise ValueError("too many workers")
        self.max_workers = max_workers
        self.pool_kwargs = pool_kwargs


class Store:
    def __init__(
        self,
        database: str,
        *,
        port: int | None = None,
        retries: Optional[int] = None,  # noqa: UP045
        ratio: "Union[float, None]" = None,  # noqa: UP007, UP037
        strict: "bool" = True,  # noqa: UP037
        number: int | float = 0,
        label: str | None = None,
        mixed: int | str = 0,
        **connect_args: Any,
    ) -> None:
        self.given: dict[str, Any] = {
            "port": port,
            "retries": retries,
            "ratio": ratio,
            "strict": strict,
            "number": number,
            "label": label,
            "mixed": mixed,
            **connect_args,
        }


class Refusing:
    def __init__(self, error: Exception) -> None:
        raise error


class Bare: ...


@pytest.fixture(autouse=True)
def aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins._loaded[plugins.EXECUTORS], "pool", Pool)
    monkeypatch.setitem(plugins._loaded[plugins.JOBSTORES], "store", Store)


# --- the three ways ---

EVERYTHING: dict[str, Any] = {
    "logger": "some.logger",
    "timezone": "Europe/Berlin",
    "jobstore_retry_interval": "2.5",
    "job_defaults": {
        "misfire_grace_time": "30",
        "coalesce": "false",
        "max_instances": "3",
        "max_catchup": "7",
        "recovery": "lost",
    },
    "jobstores": {"default": {"type": "memory"}, "big": {"type": "sqlalchemy", "url": "sqlite://", "echo": "no"}},
    "executors": {"default": {"class": "package.module:Class", "max_workers": "20"}},
    "daemon": "no",
}
PARSED = SchedulerConfig(
    logger=logging.getLogger("some.logger"),
    timezone=ZoneInfo("Europe/Berlin"),
    jobstore_retry_interval=2.5,
    job_defaults=JobDefaults(30, False, 3, 7, "lost"),
    jobstores={
        "default": ComponentSpec("jobstores.default", alias="memory"),
        "big": ComponentSpec("jobstores.big", alias="sqlalchemy", arguments={"url": "sqlite://", "echo": "no"}),
    },
    executors={
        "default": ComponentSpec("executors.default", cls="package.module:Class", arguments={"max_workers": "20"})
    },
    extra={"daemon": False},
)


def flat(tree: dict[str, Any], prefix: str = "schedcore.") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def test_keywords() -> None:
    assert parse(options=EVERYTHING, extra=EXTRA) == PARSED


def test_a_nested_mapping() -> None:
    assert parse(EVERYTHING, extra=EXTRA) == PARSED
    assert parse(MappingProxyType(EVERYTHING), extra=EXTRA) == PARSED


def test_a_mapping_that_holds_it_under_its_name() -> None:
    assert parse({"schedcore": EVERYTHING, "other": {"x": 1}}, extra=EXTRA) == PARSED


def test_a_flat_mapping() -> None:
    assert parse(flat(EVERYTHING), extra=EXTRA) == PARSED


def test_a_flat_mapping_with_mappings_in_it() -> None:
    assert parse({f"schedcore.{key}": value for key, value in EVERYTHING.items()}, extra=EXTRA) == PARSED


def test_a_nested_mapping_with_dotted_keys() -> None:
    assert parse(flat(EVERYTHING, ""), extra=EXTRA) == PARSED


@pytest.mark.parametrize("prefix", ["jobs.", "jobs"])
def test_another_prefix(prefix: str) -> None:
    assert parse(flat(EVERYTHING, "jobs."), prefix, extra=EXTRA) == PARSED


def test_no_prefix() -> None:
    assert parse(EVERYTHING, "", extra=EXTRA) == PARSED


def test_an_ini_file() -> None:
    ini = configparser.ConfigParser(interpolation=None)
    ini.read_string("[all]\nsqlalchemy.url = x\n" + "\n".join(f"{k} = {v}" for k, v in flat(EVERYTHING).items()))
    assert parse(dict(ini["all"]), extra=EXTRA) == PARSED


def test_nothing() -> None:
    for result in (parse(), parse({}), parse(None, options={}), parse({"schedcore": {}, "other": 1})):
        assert result == SchedulerConfig()
    assert parse({"job_defaults": None, "jobstores": None}) == SchedulerConfig()


def test_the_result_is_frozen_and_nothing_given_is_changed() -> None:
    tree: dict[str, Any] = {
        "jobstores": {"a": {"type": "memory"}},
        "jobstores.a.x": 1,
        "jobstores.b": {"type": "memory"},
    }
    result = parse(tree)
    assert tree == {"jobstores": {"a": {"type": "memory"}}, "jobstores.a.x": 1, "jobstores.b": {"type": "memory"}}
    assert result.jobstores["a"].arguments == {"x": 1}
    with pytest.raises(TypeError):
        result.jobstores["x"] = None  # type: ignore[index]
    with pytest.raises(TypeError):
        result.jobstores["a"].arguments["x"] = 2  # type: ignore[index]
    with pytest.raises(AttributeError):
        result.timezone = None  # type: ignore[misc]


def test_keywords_win_over_the_mapping() -> None:
    result = parse(
        EVERYTHING,
        options={
            "timezone": "UTC",
            "job_defaults": {"coalesce": True},
            "jobstores": {"big": {"type": "memory"}},
            "daemon": True,
        },
        extra=EXTRA,
    )
    assert result == PARSED._replace(
        timezone=result.timezone,
        job_defaults=PARSED.job_defaults._replace(coalesce=True),
        jobstores={**PARSED.jobstores, "big": ComponentSpec("jobstores.big", alias="memory")},
        extra={"daemon": True},
    )
    assert str(result.timezone) == "UTC"


# --- values ---


@pytest.mark.parametrize(
    ("options", "path", "expected"),
    [
        ({"logger": LOGGER}, "logger", LOGGER),
        ({"logger": logging.LoggerAdapter(LOGGER)}, "logger", None),
        ({"logger": None}, "logger", None),
        ({"logger": ""}, "logger", None),
        ({"logger": f"{__name__}:LOGGER"}, "logger", LOGGER),
        ({"timezone": None}, "timezone", None),
        ({"timezone": ""}, "timezone", None),
        ({"timezone": "None"}, "timezone", None),
        ({"timezone": ZoneInfo("Asia/Tokyo")}, "timezone", ZoneInfo("Asia/Tokyo")),
        ({"timezone": timezone(timedelta(hours=2))}, "timezone", timezone(timedelta(hours=2))),
        ({"jobstore_retry_interval": 3}, "jobstore_retry_interval", 3),
        ({"jobstore_retry_interval": "0.5"}, "jobstore_retry_interval", 0.5),
        ({"job_defaults": {"misfire_grace_time": None}}, "job_defaults.misfire_grace_time", None),
        ({"job_defaults": {"misfire_grace_time": "none"}}, "job_defaults.misfire_grace_time", None),
        ({"job_defaults": {"misfire_grace_time": ""}}, "job_defaults.misfire_grace_time", None),
        ({"job_defaults": {"misfire_grace_time": 0.5}}, "job_defaults.misfire_grace_time", 0.5),
        ({"job_defaults": {"coalesce": "False"}}, "job_defaults.coalesce", False),
        ({"job_defaults": {"coalesce": 0}}, "job_defaults.coalesce", False),
        ({"job_defaults": {"coalesce": " on "}}, "job_defaults.coalesce", True),
        ({"job_defaults": {"max_instances": "3"}}, "job_defaults.max_instances", 3),
    ],
)
def test_good_values(options: dict[str, Any], path: str, expected: object) -> None:
    for result in (parse(options=options), parse(options), parse(flat(options))):
        value: Any = result
        for name in path.split("."):
            value = getattr(value, name)
        if not isinstance(value, logging.LoggerAdapter):
            assert value == expected
            assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logger": 3}, "logger=3: must be a logger, the name of one, or a reference"),
        ({"logger": "os:path"}, "logger='os:path': must lead to a logger, not to <module 'posixpath'"),
        ({"logger": "os:nothing"}, "logger='os:nothing': cannot resolve 'os:nothing'"),
        (
            {"timezone": "Europe/Berln"},
            "timezone='Europe/Berln': no zone is called 'Europe/Berln'; did you mean 'Europe/Berlin'",
        ),
        ({"timezone": 3}, "timezone=3: 3 is of type int"),
        ({"jobstore_retry_interval": 0}, "jobstore_retry_interval=0: must be a number of seconds greater than 0"),
        ({"jobstore_retry_interval": None}, "jobstore_retry_interval=None: must be a number"),
        ({"jobstore_retry_interval": "nan"}, "jobstore_retry_interval='nan': must be a number"),
        ({"jobstore_retry_interval": float("inf")}, "jobstore_retry_interval=inf: must be a number"),
        ({"jobstore_retry_interval": 10**400}, "must be a number of seconds greater than 0"),
        (
            {"job_defaults": {"misfire_grace_time": 0}},
            "job_defaults.misfire_grace_time=0: must be a number of seconds greater than 0, or None to run however late",
        ),
        ({"job_defaults": {"misfire_grace_time": "soon"}}, "job_defaults.misfire_grace_time='soon': must be a number"),
        ({"job_defaults": {"misfire_grace_time": True}}, "job_defaults.misfire_grace_time=True: must be a number"),
        ({"job_defaults": {"coalesce": "maybe"}}, "job_defaults.coalesce='maybe': must be true or false"),
        ({"job_defaults": {"coalesce": None}}, "job_defaults.coalesce=None: must be true or false"),
        ({"job_defaults": {"coalesce": 2}}, "job_defaults.coalesce=2: must be true or false"),
        ({"job_defaults": {"max_instances": 0}}, "job_defaults.max_instances=0: must be a whole number of at least 1"),
        ({"job_defaults": {"max_instances": "2.5"}}, "job_defaults.max_instances='2.5': must be a whole number"),
        ({"job_defaults": {"max_instances": True}}, "job_defaults.max_instances=True: must be a whole number"),
        ({"job_defaults": {"max_catchup": -1}}, "job_defaults.max_catchup=-1: must be a whole number of at least 1"),
        ({"job_defaults": {"recovery": "retry"}}, 'job_defaults.recovery=\'retry\': must be "rerun" or "lost"'),
        ({"job_defaults": {"recovery": []}}, "job_defaults.recovery=[]: must be"),
        ({"job_defaults": 3}, "job_defaults=3: must be a mapping of options to values"),
        ({"jobstores": "memory"}, "jobstores='memory': must be a mapping of aliases to job stores"),
        ({"executors": [1]}, "executors=[1]: must be a mapping of aliases to executors"),
        ({"executors": {"": {"type": "debug"}}}, "executors: its keys must be names, not ''"),
        ({"executors": {1: {"type": "debug"}}}, "executors: its keys must be names, not 1"),
        ({"daemon": "perhaps"}, "daemon='perhaps': must be true or false"),
        ({1: 2}, "option names must be text, not 1"),
        ({"logger": "os:" + "x" * 500}, "..."),
    ],
)
def test_bad_values_name_the_option_and_what_would_be_right(options: dict[Any, Any], message: str) -> None:
    for gconfig, keywords in ((options, {}), ({}, options)):
        with pytest.raises(ConfigurationError) as caught:
            parse(gconfig, options=keywords, extra=EXTRA)
        assert message in str(caught.value)
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("options", "option", "message"),
    [
        ({"timezon": "UTC"}, "timezon", "unknown scheduler option 'timezon'; did you mean 'timezone'?"),
        ({"deamon": True}, "deamon", "unknown scheduler option 'deamon'; did you mean 'daemon'?"),
        ({"jobstore": 1}, "jobstore", "did you mean 'jobstores'?"),
        ({"qqq": 1}, "qqq", "unknown scheduler option 'qqq'; known: daemon, executors, job_defaults, "),
        (
            {"misfire_grace_time": 3},
            "misfire_grace_time",
            "unknown scheduler option 'misfire_grace_time'; it is a job default and belongs under job_defaults: "
            "job_defaults={'misfire_grace_time': ...}",
        ),
        ({"coalesce": True}, "coalesce", "belongs under job_defaults"),
        (
            {"job_defaults": {"misfire_grace": 1}},
            "job_defaults.misfire_grace",
            "unknown scheduler option 'job_defaults.misfire_grace'; did you mean 'job_defaults.misfire_grace_time'?",
        ),
        (
            {"job_defaults": {"timezone": "UTC"}},
            "job_defaults.timezone",
            "unknown scheduler option 'job_defaults.timezone'; it belongs at the top level: timezone=...",
        ),
    ],
)
def test_unknown_options(options: dict[str, Any], option: str, message: str) -> None:
    for gconfig, keywords in ((options, {}), ({}, options), (flat(options), {})):
        with pytest.raises(UnknownOptionError) as caught:
            parse(gconfig, options=keywords, extra=EXTRA)
        assert message in str(caught.value)
        assert caught.value.option == option
        assert isinstance(caught.value, TypeError)


def test_unknown_flat_options_have_their_full_name() -> None:
    with pytest.raises(UnknownOptionError, match=r"'job_default\.coalesce'; did you mean 'job_defaults'"):
        parse({"schedcore.job_default.coalesce": "no"})
    with pytest.raises(UnknownOptionError, match=r"unknown scheduler option 'timezon'; did you mean 'timezone'\?$"):
        parse({"schedcore.timezon": "UTC", "other": 1})


def test_a_mapping_without_the_prefix_is_read_in_full() -> None:
    with pytest.raises(UnknownOptionError, match=r"'myapp\.zone'.* \(no key starts with 'schedcore\.', so all"):
        parse({"myapp.zone": "UTC"})


def test_keys_under_another_prefix() -> None:
    with pytest.raises(UnknownOptionError) as caught:
        parse({"apscheduler.jobstores.default": {"type": "memory"}, "apscheduler.timezone": "UTC"})
    assert str(caught.value) == (
        "unknown scheduler option 'apscheduler.jobstores.default'; did you mean 'schedcore.jobstores.default'? "
        "(configure(..., prefix='apscheduler.') reads such keys)"
    )


@pytest.mark.parametrize(
    "gconfig",
    [
        {"schedcore.jobstores.default": "x", "schedcore.jobstores.default.url": "y"},
        {"schedcore.timezone": "UTC", "schedcore": {"timezone": "UTC"}},
        {"job_defaults": {"coalesce": 1}, "job_defaults.coalesce": 1},
    ],
)
def test_an_option_that_is_given_twice(gconfig: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="is given twice"):
        parse(gconfig)


@pytest.mark.parametrize("gconfig", [[], "x", 3])
def test_a_configuration_that_is_no_mapping(gconfig: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a mapping of options to values"):
        parse(gconfig)


def test_a_conversion_of_the_caller() -> None:
    def positive(value: object) -> object:
        raise TypeError("must be positive")

    with pytest.raises(ConfigurationError, match=r"^size=-1: must be positive$"):
        parse(options={"size": -1}, extra={"size": positive})
    # The same name as a job default is the caller's, when the caller says so.
    assert parse(options={"coalesce": 5}, extra={"coalesce": as_is}).extra == {"coalesce": 5}


def test_conversions() -> None:
    assert as_is(3) == 3
    assert as_text("x") == "x"
    assert as_number(" 2.5 ") == 2.5
    assert as_whole_number(" -3 ") == -3
    for bad in ("", 3, None):
        with pytest.raises(ValueError, match="must be text"):
            as_text(bad)
    for wrong in ("", "x", None, True, 1.5, "9" * 5000):
        with pytest.raises(ValueError, match="must be a whole number"):
            as_whole_number(wrong)


# --- components ---


def test_an_instance_is_kept() -> None:
    pool = Pool()
    spec = parse({"executors": {"default": pool}}).executors["default"]
    assert spec == ComponentSpec("executors.default", pool)
    assert build(spec, plugins.EXECUTORS) is pool


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("pool", "executors.default='pool': must be an instance, or a mapping with type (plug-in alias) or class"),
        ("pool", "did you mean {'type': 'pool'}?"),
        ("a.b:C", "did you mean {'class': 'a.b:C'}?"),
        (
            "postgresql://me:secret@host/jobs",
            "executors.default='postgresql://me:***@host/jobs': must be an instance, or a mapping with type (plug-in alias) or "
            """class ("package.module:Class") and its arguments; a URL goes with its type, such as """
            "{'type': 'sqlalchemy', 'url': 'sqlite:///jobs.sqlite'}",
        ),
        ("", "executors.default='': must be an instance"),
        (None, "executors.default=None: must be an instance"),
        (3, "executors.default=3: must be an instance"),
        ([], "executors.default=[]: must be an instance"),
        (Pool, "must be an instance, not a class: Pool(...)"),
        ({}, "executors.default has neither type nor class: it must be an instance, or a mapping with"),
        ({"type": "pool", "class": "a:B"}, "executors.default has both type and class"),
        ({"type": 3}, "executors.default.type=3: must be a plug-in alias"),
        ({"type": ""}, "executors.default.type='': must be a plug-in alias"),
        ({"class": 3}, 'executors.default.class=3: must be a class or "package.module:Class"'),
        ({"type": "pool", 3: 4}, "executors.default: its keys must be names, not 3"),
    ],
)
def test_what_is_no_component(value: object, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse({"executors": {"default": value}})
    assert message in str(caught.value)


def made(value: dict[str, Any], group: str = plugins.EXECUTORS, option: str = "executors.default") -> Any:
    return build(component(value, option), group)


@pytest.mark.parametrize("how", [{"type": "pool"}, {"class": f"{__name__}:Pool"}, {"class": Pool}])
def test_build(how: dict[str, Any]) -> None:
    assert made(how).max_workers == 10
    assert made({**how, "max_workers": 3}).max_workers == 3
    assert made({**how, "max_workers": "3"}).max_workers == 3
    assert made({**how, "pool_kwargs": {"x": "3"}}).pool_kwargs == {"x": "3"}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("port", "3", 3),
        ("port", "none", None),
        ("port", "", None),
        ("retries", "5", 5),
        ("retries", "None", None),
        ("ratio", "0.5", 0.5),
        ("ratio", "none", None),
        ("strict", "false", False),
        ("number", "2.5", 2.5),
        ("label", "3", "3"),
        ("label", "none", "none"),
        ("mixed", "3", "3"),
        ("other", "3", "3"),
    ],
)
def test_text_is_converted_by_the_annotation(name: str, text: str, expected: object) -> None:
    store = made({"type": "store", "database": "7", name: text}, plugins.JOBSTORES, "jobstores.default")
    assert store.given[name] == expected
    assert type(store.given[name]) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (
            {"type": "pool", "max_worker": 3},
            UnknownOptionError,
            "unknown executors.default option 'max_worker'; did you mean 'max_workers'?",
        ),
        (
            {"type": "pool", "max_workers": "many"},
            ConfigurationError,
            "executors.default.max_workers='many': must be a whole number",
        ),
        ({"class": Store}, ConfigurationError, "executors.default is incomplete: database must be given"),
        (
            {"type": "pool", "max_workers": 101},
            ConfigurationError,
            "executors.default: Pool refuses its arguments: too many workers",
        ),
        ({"class": Bare, "x": 1}, UnknownOptionError, "unknown executors.default option 'x'"),
        ({"type": "poool"}, UnknownPluginError, "executors.default.type: there is no executor 'poool'"),
        ({"class": "os:nothing"}, ReferenceLookupError, "executors.default.class: cannot resolve 'os:nothing'"),
        ({"class": "os:getcwd"}, ConfigurationError, "executors.default.class='os:getcwd': must lead to a class, not"),
        ({"class": Refusing, "error": TypeError("x")}, ConfigurationError, "Refusing refuses its arguments: x"),
        ({"class": Refusing, "error": JobStoreError("a", "down")}, JobStoreError, "down"),
        ({"class": Refusing, "error": OSError("gone")}, OSError, "gone"),
    ],
)
def test_build_errors(value: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        made(value)
    assert message in str(caught.value)
    if isinstance(caught.value, UnknownOptionError):
        assert caught.value.option.startswith("executors.default.")


def test_build_without_arguments_and_signature() -> None:
    assert isinstance(made({"class": Bare}), Bare)
    assert made({"class": dict, "a": 1}) == {"a": 1}
