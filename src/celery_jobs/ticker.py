"""What ticks for the schedules in SQL: a thread of beat's process. Any number of them make one job of a tick."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from celery_jobs.batch import Batch
from celery_jobs.errors import StoreUnavailable
from celery_jobs.events import Kind, emit
from celery_jobs.schedules import gather, values_of
from celery_jobs.store import schedules
from celery_jobs.store.schedules import Outcome

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin
    from celery_jobs.store.schedules import Schedule

__all__ = ["Ticker", "start"]

LOOK_PAUSE = 10.0
"""Seconds between two looks for what has changed; what ticks earlier is known by then, and waited for."""

TAKEN_PAUSE = 0.5
"""Seconds to the next look where another beat was just making a tick's job."""

EARLY = 0.002
"""Seconds that a wait is prolonged by: who wakes before the tick would have to look again."""

STOP_SECONDS = 5.0


def start(plugin: Plugin, scheduler: Any) -> None:
    """Tick until a scheduler of beat's is closed, as it is whenever beat ends in good order."""
    ticker = Ticker(plugin)
    close = scheduler.close

    def close_both(*args: Any, **options: Any) -> Any:
        ticker.stop()
        return close(*args, **options)

    scheduler.close = close_both
    ticker.start()


class Ticker:
    """Looks for schedules that are due, and waits for those that will be."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self._told: dict[str, str] = {}
        """The last error of each schedule that could not tick: it is told once."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="celery-jobs-ticker", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; a tick that is being made ends first, if it ends within 5 s."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                pause = self.look()
            except StoreUnavailable as error:
                pause = LOOK_PAUSE
                emit(Kind.STORE_UNAVAILABLE, error=str(error))
            except Exception as error:
                pause = LOOK_PAUSE
                emit(Kind.SERVICE_FAILED, service="schedules", error=repr(error))

    def look(self) -> float:
        """Make the jobs of what is due; in how many seconds to look again. Raises StoreUnavailable."""
        if not self._may_have_some():
            return LOOK_PAUSE
        near = schedules.soon(self.plugin.db, LOOK_PAUSE)
        pauses = [self._tick(schedule) if wait <= 0 else wait + EARLY for schedule, wait in near]
        return min(pauses, default=LOOK_PAUSE)

    def _may_have_some(self) -> bool:
        """A file that is not there has no schedules; looking would make it."""
        url, is_sqlite = self.plugin.unchecked_db.url, self.plugin.unchecked_db.is_sqlite
        return not is_sqlite or os.path.exists(str(url.database))

    def _tick(self, schedule: Schedule) -> float:
        """Make the job of a tick; in how many seconds to look again."""
        try:
            gathered = gather(self.plugin, values_of(schedule))
            ticked = schedules.tick(self.plugin.db, schedule, [entry.job for entry in gathered])
        except StoreUnavailable:
            raise
        except Exception as error:
            self._tell(schedule, error)
            return LOOK_PAUSE
        self._told.pop(schedule.name, None)
        if ticked.outcome is Outcome.MADE:
            Batch(self.plugin).follow(gathered, ticked.enqueued)
            emit(Kind.TICKED, gathered[0].job, schedule=schedule.name)
        elif ticked.outcome is not Outcome.TAKEN:
            stands = schedule.last_job_id if ticked.outcome is Outcome.OVERLAP else None
            reason = str(ticked.outcome)
            emit(Kind.TICK_SKIPPED, schedule=schedule.name, reason=reason, task=schedule.task, job_id=stands)
        return TAKEN_PAUSE if ticked.outcome is Outcome.TAKEN else 0.0

    def _tell(self, schedule: Schedule, error: Exception) -> None:
        """It stays due: who shares the database may know its task, and what is wrong may be put right."""
        if self._told.get(schedule.name) != str(error):
            self._told[schedule.name] = str(error)
            emit(Kind.SCHEDULE_FAILED, schedule=schedule.name, error=str(error), task=schedule.task)
