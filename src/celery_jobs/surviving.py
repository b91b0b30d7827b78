"""Tasks that would take their worker with them: one that exits, one that has no memory left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionInfo
from billiard.process import current_process
from celery.exceptions import WorkerShutdown, WorkerTerminate

from celery_jobs.claiming import dropped, lose
from celery_jobs.envelope import JOB_HEADER
from celery_jobs.events import Kind, emit
from celery_jobs.execution import LEASE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.plugin import Plugin

__all__ = ["harmless", "surviving"]

_GREEN = ("eventlet", "gevent", "greenlet")


def surviving(plugin: Plugin, tracer: Callable[..., Any]) -> Callable[..., Any]:
    """A tracer that counts such an end as a loss, where nobody else does: threads would stay processing, solo end."""

    def trace(uuid: str, args: Any, kwargs: Any, request: dict[str, Any] | None = None) -> Any:
        request = {} if request is None else request
        job_id, lease_token = request.get(JOB_HEADER), request.get(LEASE_KEY)
        try:
            return tracer(uuid, args, kwargs, request)
        except Exception:
            raise
        except BaseException as error:
            if lease_token is None or _is_settled_elsewhere(error):
                raise
            from celery_jobs.adoption import adopted

            _lose(plugin, job_id or adopted(plugin, uuid), lease_token)
            return dropped()

    trace.__wrapped__ = tracer  # type: ignore[attr-defined]
    return trace


def _is_settled_elsewhere(error: BaseException) -> bool:
    """Whether the worker's parent will hear of it, or a green pool stops what runs in this way."""
    if isinstance(error, (WorkerShutdown, WorkerTerminate)):
        return True
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return bool(current_process().name != "MainProcess")  # this process of the pool ends
    return type(error).__module__.partition(".")[0] in _GREEN


def _lose(plugin: Plugin, job_id: str, lease_token: str) -> None:
    from celery_jobs.sending import sender_of

    if lose(plugin, job_id, lease_token):
        emit(Kind.LOST, job_id=job_id)
        sender_of(plugin).send_now([job_id])


def harmless(exc_info: Any) -> Any:
    """A task's MemoryError under another name: Celery ends the whole worker where its parent hears of one."""
    try:
        raise RuntimeError(f"the task raised {exc_info.exception!r}")
    except RuntimeError:
        harmless = ExceptionInfo()
    harmless.traceback = exc_info.traceback
    return harmless
