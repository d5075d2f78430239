"""A FastAPI service whose jobs live as long as it does. (With Starlette alone it is the same: the lifespan is Starlette's.)

    pip install schedcore fastapi uvicorn
    cd examples/fastapi
    uvicorn app:app

Jobs may be defined anywhere with ``scheduled_job``; they begin to run when the service has started, and the service ends when
those that run have ended.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from schedcore.adapters.asyncio import AsyncIOScheduler
from schedcore.errors import InvalidTriggerError, JobLookupError
from schedcore.job import Job

try:
    from fastapi import FastAPI, HTTPException
    from pydantic import BaseModel
except ImportError as error:
    sys.exit(f"{error}; this example needs: pip install schedcore fastapi uvicorn")

__all__ = ["app"]

scheduler = AsyncIOScheduler(timezone="UTC")
# What the job below has measured lately.
measured: deque[float] = deque(maxlen=100)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The scheduler starts on the server's loop, and its end is waited for, but no longer than the server will wait."""
    scheduler.start()
    yield
    await scheduler.shutdown(timeout=10)


app = FastAPI(lifespan=lifespan)


@scheduler.scheduled_job("interval", seconds=0.2, id="measure")
async def measure() -> None:
    """How late the loop is."""
    loop = asyncio.get_running_loop()
    before_s = loop.time()
    await asyncio.sleep(0.01)
    measured.append(loop.time() - before_s - 0.01)


class JobOut(BaseModel):
    """A job, as it is shown."""

    id: str
    trigger: str
    next_run_time: datetime | None


def shown(job: Job) -> JobOut:
    return JobOut(id=job.id, trigger=str(job.trigger), next_run_time=job.next_run_time)


def found(job_id: str) -> Job:
    # These jobs are in memory, and nobody waits. With a database: ``await scheduler.call(scheduler.get_job, job_id)``.
    job = scheduler.get_job(job_id)
    if job is None:
        raise HTTPException(404, f"there is no job {job_id!r}")
    return job


@app.get("/lateness")
async def lateness() -> dict[str, float]:
    """What the job has found out so far."""
    return {"times": len(measured), "worst_s": max(measured, default=0.0)}


@app.get("/jobs")
async def jobs() -> list[JobOut]:
    """All jobs."""
    return [shown(job) for job in scheduler.get_jobs()]


@app.post("/jobs/{job_id}/pause")
async def pause(job_id: str) -> JobOut:
    """Let it rest."""
    return shown(found(job_id).pause())


@app.post("/jobs/{job_id}/resume")
async def resume(job_id: str) -> JobOut:
    """Let it go on."""
    found(job_id).resume()
    return shown(found(job_id))


@app.put("/jobs/{job_id}/interval")
async def reschedule(job_id: str, seconds: float) -> JobOut:
    """Run it at another interval, in seconds."""
    try:
        return shown(scheduler.reschedule_job(job_id, trigger="interval", seconds=seconds))
    except JobLookupError:
        raise HTTPException(404, f"there is no job {job_id!r}") from None
    except InvalidTriggerError as error:
        raise HTTPException(422, str(error)) from None
