"""Jobs in an etcd that speaks TLS, with a certificate that it has made for itself."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest

from schedcore.errors import JobStoreError
from schedcore.jobstores.etcd import EtcdJobStore
from schedcore.testing import EventLog
from tests.jobstores.load import scheduler_on, start_paused, work
from tests.services import Etcd
from tests.services._service import HOST
from tests.services.fixtures import _shared


class EtcdWithTLS(Etcd):
    @property
    def certificate(self) -> str:
        return str(Path(self._folder("data"), "fixtures", "client", "cert.pem"))

    def command(self) -> list[str]:
        plain = ("--listen-client-urls=", "--advertise-client-urls=")
        words = [word.replace("http:", "https:") if word.startswith(plain) else word for word in super().command()]
        return [*words, "--auto-tls"]

    def connection(self) -> http.client.HTTPConnection:
        unchecked = ssl.create_default_context()
        unchecked.check_hostname = False
        unchecked.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(HOST, self.port, timeout=self.answer_s, context=unchecked)


@pytest.fixture(scope="module")
def secure() -> Iterator[EtcdWithTLS]:
    yield from _shared(EtcdWithTLS)


@pytest.fixture
def arguments(secure: EtcdWithTLS) -> dict[str, Any]:
    """Those of a store over one path, but for the certificate that it trusts."""
    place = secure.fresh()
    return {"path": f"/{place.name}", "host": place.host, "port": place.port, "protocol": "https"}


def test_jobs_run_and_are_there_the_next_time(
    secure: EtcdWithTLS, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of two that are given the one that is said to the store is trusted.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    arguments["ca_cert"] = secure.certificate
    scheduler = scheduler_on(EtcdJobStore(**arguments))
    log = EventLog(scheduler)
    scheduler.start()
    scheduler.add_job(work, id="once")
    scheduler.add_jobs([{"func": work, "trigger": "interval", "hours": 1, "id": f"job{i:03}"} for i in range(150)])
    log.wait_for(lambda log: bool(log.executed("once")))
    scheduler.shutdown()
    scheduler = scheduler_on(EtcdJobStore(**arguments))
    start_paused(scheduler)
    assert [job.id for job in scheduler.get_jobs()] == [f"job{i:03}" for i in range(150)]
    assert [str(run.state) for run in scheduler.get_runs("once")] == ["succeeded"]
    scheduler.shutdown()


def test_a_server_with_a_certificate_that_nobody_vouches_for_is_refused(arguments: dict[str, Any]) -> None:
    scheduler = scheduler_on(EtcdJobStore(**arguments))
    with pytest.raises(JobStoreError, match="certificate verify failed"):
        scheduler.start()


def test_it_goes_on_after_the_server_was_restarted(secure: EtcdWithTLS, arguments: dict[str, Any]) -> None:
    scheduler = scheduler_on(EtcdJobStore(**arguments, ca_cert=secure.certificate))
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="before")
    secure.restart()
    scheduler.add_job(work, "interval", hours=1, id="after")
    assert sorted(job.id for job in scheduler.get_jobs()) == ["after", "before"]
    scheduler.shutdown()
