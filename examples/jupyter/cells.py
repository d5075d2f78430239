"""A notebook, as Jupyter's editors read it from a file: ``# %%`` begins a cell.

The loop of a notebook runs already, in the thread of the cells: a scheduler starts on it without more ado, its coroutine jobs
run between two cells and while one awaits, and a cell may await the scheduler.

Open it as a notebook: ``python`` alone does not know ``await`` outside of a function.
"""

# %%
from datetime import UTC, datetime

from schedcore.adapters.asyncio import AsyncIOScheduler

samples: list[datetime] = []
scheduler = AsyncIOScheduler()
scheduler.start()


# %%
async def sample() -> None:
    samples.append(datetime.now(UTC))


job = scheduler.add_job(sample, "interval", seconds=0.05, id="sample")

# %%
import asyncio  # noqa: E402

await asyncio.sleep(0.3)  # type: ignore[top-level-await]  # noqa: F704
print(f"{len(samples)} samples")

# %%
job.reschedule("interval", seconds=0.02)
before = len(samples)

# %%
await asyncio.sleep(0.3)  # type: ignore[top-level-await]  # noqa: F704
print(f"{len(samples) - before} more")

# %%
# Running the cell again would start it twice, which is an error: shut down first, and wait.
await scheduler.shutdown()  # type: ignore[top-level-await]  # noqa: F704
