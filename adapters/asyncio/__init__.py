"""schedcore inside an asyncio event loop."""

from schedcore.adapters.asyncio.executor import AsyncIOExecutor
from schedcore.adapters.asyncio.scheduler import AsyncIOScheduler
from schedcore.adapters.asyncio.wakeup import AsyncIOWakeup

__all__ = ["AsyncIOExecutor", "AsyncIOScheduler", "AsyncIOWakeup"]
