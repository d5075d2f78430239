"""Real servers for tests: each on a free port of the loopback interface, its data in a temporary folder, ended by its handle.

For tests there are fixtures, one of each for the whole session, started when the first test asks for it (``fixtures.py``)::

    def test_something(postgresql: PostgreSQL) -> None:
        place = postgresql.fresh()            # a database of its own, empty: place.url, .host, .port, .user, .name
        store = SQLAlchemyJobStore(place.url)
        ...
        postgresql.pause()                    # SIGSTOP; then resume(), or kill() and start(), or restart()

    def test_something_else(redis_server: Redis) -> None:
        place = redis_server.fresh()
        with Proxy(place.port) as proxy:      # what a network does: refuse(), stall(), cut(), accept()
            client = redis.Redis(port=proxy.port, db=int(place.name))

For people, who want one to try something with: ``python -m tests.services start postgresql`` until Ctrl-C.

A server that is not installed is a skip with its reason, and a failure where ``SCHEDCORE_REQUIRE_SERVICES`` is 1 or, unless
it is 0, where ``CI`` is set. ``python -m tests.services install`` installs what it may; the README's test command does so.

Settings are such that what a server has confirmed outlives ``kill``, as it does in production, and not a loss of power,
which no test can stage: what is written is not forced to the disk.

Why this was written. pifpaf (OpenStack's) and pytest-postgresql, pytest-mysql and pytest-redis with mirakuru start a server and
stop it. None can pause one, kill one with all of its processes and start it again on the same port with its data, nor
ends it when the tests are killed; and PostgreSQL's workers show as processes that a test left behind. testcontainers needs
Docker. The part that does this is ``_keeper.py``; a server is about fifty lines.
"""

from __future__ import annotations

from tests.services._service import Place, Service, ServiceError, ServiceMissing
from tests.services.etcd import Etcd
from tests.services.mariadb import MariaDB
from tests.services.mongodb import MongoDB
from tests.services.postgresql import PostgreSQL
from tests.services.proxy import Proxy
from tests.services.redis import Redis
from tests.services.zookeeper import ZooKeeper

__all__ = [
    "SERVICES",
    "Etcd",
    "MariaDB",
    "MongoDB",
    "Place",
    "PostgreSQL",
    "Proxy",
    "Redis",
    "Service",
    "ServiceError",
    "ServiceMissing",
    "ZooKeeper",
]

SERVICES: dict[str, type[Service]] = {
    service.name: service for service in (PostgreSQL, MariaDB, Redis, ZooKeeper, Etcd, MongoDB)
}
