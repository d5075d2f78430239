"""The lock for what takes microseconds.

gevent's monkey patching makes the locks of ``threading`` ones that greenlets can wait for. Between real threads these do not
always wake who waits, and the hub cannot wait for them at all. A lock under which nobody ever waits for anything needs none of
that: it is a real one, whatever was patched. Where something may take longer, or a job store is called, ``threading`` is right.
"""

from _thread import RLock

__all__ = ["ShortLock"]

#: A reentrant lock, of the threads of the operating system.
ShortLock = RLock
