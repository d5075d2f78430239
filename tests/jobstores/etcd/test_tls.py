"""Jobs in an etcd that speaks TLS, with a certificate that it has made for itself."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def test_jobs_run_and_are_there_the_next_time(secure: EtcdWithTLS, arguments: dict[str, Any]) -> None:
    arguments["ca_cert"] = secure.certificate
    del arguments["protocol"]  # a certificate says as much
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


class EtcdWithClients(EtcdWithTLS):
    """One that lets in who shows a certificate that it trusts, which is its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.own, self.key = str(folder / "cert.pem"), str(folder / "key.pem")

    def command(self) -> list[str]:
        words = [word for word in super().command() if word != "--auto-tls"]
        return [*words, f"--cert-file={self.own}", f"--key-file={self.key}", f"--trusted-ca-file={self.own}"]

    def connection(self) -> http.client.HTTPConnection:
        context = ssl.create_default_context(cafile=self.own)
        context.load_cert_chain(self.own, self.key)
        return http.client.HTTPSConnection(HOST, self.port, timeout=self.answer_s, context=context)


def test_a_certificate_of_the_clients_own(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes a certificate for clients, is not installed")
    server = EtcdWithClients(tmp_path)
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-out", server.own]
    words += ["-keyout", server.key, "-addext", "subjectAltName=IP:127.0.0.1"]
    words += ["-addext", "extendedKeyUsage=serverAuth,clientAuth"]
    subprocess.run([openssl, *words], check=True, capture_output=True, timeout=60)
    server.start()
    try:
        place = server.fresh()
        where: dict[str, Any] = {
            "path": f"/{place.name}",
            "host": place.host,
            "port": place.port,
            "ca_cert": server.own,
        }
        scheduler = scheduler_on(EtcdJobStore(**where, cert_cert=server.own, cert_key=server.key))
        start_paused(scheduler)
        scheduler.add_job(work, "interval", hours=1, id="a")
        assert [job.id for job in scheduler.get_jobs()] == ["a"]
        scheduler.shutdown()
        with pytest.raises(JobStoreError, match=r"(?i)certificate|reset|closed the connection"):
            scheduler_on(EtcdJobStore(**where)).start()
    finally:
        server.stop()


def test_a_server_that_speaks_no_http2_is_refused(secure: EtcdWithTLS, arguments: dict[str, Any]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(secure.certificate, secure.certificate.replace("cert.pem", "key.pem"))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with context.wrap_socket(connection, server_side=True) as speaking:
                speaking.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        arguments |= {"port": listening.getsockname()[1], "ca_cert": secure.certificate}
        with pytest.raises(JobStoreError, match="does not speak HTTP/2"):
            scheduler_on(EtcdJobStore(**arguments)).start()
        thread.join()
