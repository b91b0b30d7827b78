"""Celery's `control.revoke` and `control.purge`, in SQL as well: what they take away stays away over restarts.

A broadcast reaches the workers that are up now, and a purge only messages; the rows would be sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.app.control import Control
from celery.utils.functional import maybe_list
from celery.utils.imports import symbol_by_name

from celery_jobs.plugin import plugin_of

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["JobsControl", "install"]


class JobsControl(Control):  # type: ignore[misc]
    """Remote control whose revokes and purges are cancels of jobs too."""

    def revoke(self, task_id: Any, *args: Any, **options: Any) -> Any:
        """Celery's revoke, and these jobs cancelled, or with `terminate` killed (semantics.md section 10)."""
        from celery_jobs.store import reads
        from celery_jobs.verbs import Cancel

        reply = super().revoke(task_id, *args, **options)
        plugin = plugin_of(self.app)
        ids = maybe_list(task_id)
        terminate = options.get("terminate", args[1] if len(args) > 1 else False)
        found = [original_id for id in ids if (original_id := reads.find_original(plugin.db, id)) is not None]
        Cancel(plugin, bool(terminate))(reads.runs_of(plugin.db, found))
        return reply

    def purge(self, *args: Any, **options: Any) -> Any:
        """Celery's purge, and the jobs cancelled that were waiting in the broker; those held in SQL stay."""
        from celery_jobs.store import sends
        from celery_jobs.telling import cancel_waiting

        plugin = plugin_of(self.app)
        doomed = [id for queue in self.app.amqp.queues.consume_from for id in sends.in_broker(plugin.db, queue)]
        removed = super().purge(*args, **options)
        cancel_waiting(plugin, doomed)
        return removed

    discard_all = purge


def install(app: Celery) -> None:
    """Give an app this remote control, mixed with its own where it has one; an app that was pickled has it already."""
    own = symbol_by_name(app.control_cls)
    if not issubclass(own, JobsControl):
        app.control_cls = JobsControl if own is Control else type(own.__name__, (JobsControl, own), {})
        app.__dict__.pop("control", None)
