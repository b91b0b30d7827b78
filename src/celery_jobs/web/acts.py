"""Bulk acts that a page has begun, each in a thread of Flower: they go on whoever looks, and stop when Flower does.

How far one is stands in the audit log, so that every Flower shows it.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from celery_jobs.audit_log import ActNotFound
from celery_jobs.errors import JobsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.audit import AuditedJobs

__all__ = ["MOST", "TooManyActs", "begin"]

MOST = 4
"""Acts at once."""

PATIENCE = 5.0
"""Seconds that an act has to be written down, and to stop where Flower ends."""

_threads: dict[str, threading.Thread] = {}
_ending = threading.Event()
_lock = threading.Lock()


class TooManyActs(JobsError):
    """As many bulk acts as may are at work in this Flower."""

    def __init__(self) -> None:
        super().__init__(f"{MOST} bulk acts are at work already; begin when one of them has ended")


def begin(jobs: AuditedJobs, act_id: str, act: Callable[..., Any], **options: Any) -> None:
    """Begin an act, which is in the audit log when this returns; of one that was begun before, nothing happens.

    `act`: a bulk verb of `jobs`. Raises TooManyActs.
    """
    with _lock:
        for known, thread in list(_threads.items()):
            if not thread.is_alive():
                del _threads[known]
        if act_id in _threads or _is_known(jobs, act_id):
            return
        if len(_threads) >= MOST:
            raise TooManyActs
        name = f"celery-jobs-act-{act_id}"
        work = threading.Thread(target=_work, args=(act, act_id, options), name=name, daemon=True)

        _threads[act_id] = work
        work.start()
    until = time.monotonic() + PATIENCE
    while work.is_alive() and not _is_known(jobs, act_id) and time.monotonic() < until:
        time.sleep(0.01)


def _work(act: Callable[..., Any], act_id: str, options: dict[str, Any]) -> None:
    try:
        act(act_id=act_id, stop=_ending.is_set, **options)
    except Exception:  # the audit log says so too, as far as it could be written
        logging.getLogger("celery_jobs").exception("the bulk act %s broke off", act_id)


def _is_known(jobs: AuditedJobs, act_id: str) -> bool:
    try:
        jobs.act(act_id)
    except ActNotFound:
        return False
    return True


@atexit.register
def _end() -> None:
    _ending.set()
    for thread in list(_threads.values()):
        thread.join(PATIENCE)
