"""Servers for tests, by hand.

python -m tests.services                    what there is, and what is missing
python -m tests.services install [NAME…]    install what is missing, as far as possible
python -m tests.services start NAME         run one until Ctrl-C, with its URL printed
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading

from tests.services import SERVICES, ServiceError, ServiceMissing
from tests.services.install import install

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    match arguments:
        case []:
            for name, service in SERVICES.items():
                print(f"{name:<12}{service.missing() or 'ready to start'}")
            return 0
        case ["install", *names] if set(names) <= set(SERVICES):
            install(names)
            return 0
        case ["start", name] if name in SERVICES:
            return start(name)
        case _:
            print(f"{__doc__}\nNAME is one of: {', '.join(SERVICES)}", file=sys.stderr)
            return 2


def start(name: str) -> int:
    service = SERVICES[name]()
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    try:
        service.start()
        print(service.url, flush=True)
        print(f"pid {service.pid}; Ctrl-C ends it and removes its data", file=sys.stderr, flush=True)
        while not over.wait(1.0):
            if not service.running:
                raise ServiceError(f"{name} ended by itself\n{service.log_end()}")
    except (ServiceMissing, ServiceError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        with contextlib.suppress(ServiceError):
            service.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
