"""Jobs in an etcd that wants to know who asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest

from schedcore.errors import JobStoreError
from schedcore.jobstores.etcd import EtcdJobStore
from tests.jobstores.load import scheduler_on, start_paused, work
from tests.services import Etcd
from tests.services._service import HOST
from tests.services.fixtures import _shared


class EtcdWithUsers(Etcd):
    """``app`` may do what it likes below ``/app/``, and ``root`` anywhere."""

    def command(self) -> list[str]:
        return [*super().command(), "--bcrypt-cost=4"]  # the least that there is

    def start(self) -> None:
        super().start()
        self.post("user/add", name="root", password="first")
        self.post("user/grant", user="root", role="root")
        self.post("user/add", name="app", password="secret")
        self.post("role/add", name="app")
        # In Base64: from /app/ on, to what comes after all that begins so.
        permission = {"permType": "READWRITE", "key": "L2FwcC8=", "range_end": "L2FwcDA="}
        self.post("role/grant", name="app", perm=permission)
        self.post("user/grant", user="app", role="app")
        self.post("enable")

    def post(self, path: str, token: str = "", **body: Any) -> Any:
        with closing(HTTPConnection(HOST, self.port, timeout=60)) as connection:
            connection.request("POST", f"/v3/auth/{path}", json.dumps(body), {"Authorization": token} if token else {})
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == 200, said
            return json.loads(said)

    def forget_tokens(self) -> None:
        """As it does with those that nobody used for five minutes."""
        token = self.post("authenticate", name="root", password="first")["token"]
        self.post("user/changepw", token, name="app", password="secret")


@pytest.fixture(scope="module")
def guarded() -> Iterator[EtcdWithUsers]:
    yield from _shared(EtcdWithUsers)


@pytest.fixture
def arguments(guarded: EtcdWithUsers) -> dict[str, Any]:
    place = guarded.fresh()
    return {"path": f"/app/{place.name}", "host": place.host, "port": place.port, "user": "app", "password": "secret"}


def test_a_token_that_is_over_is_asked_for_again(guarded: EtcdWithUsers, arguments: dict[str, Any]) -> None:
    scheduler = scheduler_on(EtcdJobStore(**arguments))
    start_paused(scheduler)
    scheduler.add_job(work, "interval", hours=1, id="a")
    guarded.forget_tokens()
    scheduler.add_job(work, "interval", hours=1, id="b")
    guarded.forget_tokens()
    # Several are under way then.
    scheduler.add_jobs([{"func": work, "trigger": "interval", "hours": 1, "id": f"job{i:03}"} for i in range(300)])
    assert len(scheduler.get_jobs()) == 302
    scheduler.shutdown()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"password": "wrong"}, "authentication failed"),
        ({"path": "/elsewhere"}, "permission denied"),
        ({"user": None, "password": None}, "user name is empty"),
    ],
)
def test_who_is_not_let_in(arguments: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(JobStoreError, match=said) as caught:
        scheduler_on(EtcdJobStore(**arguments | changes)).start()
    assert not caught.value.transient
