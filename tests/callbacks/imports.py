"""A process that sends the callbacks that are due, as a worker does, and says what its threads were first to import."""

from __future__ import annotations

import json
import sys
import threading
from typing import TYPE_CHECKING, Any

from celery_jobs.events import Event, Kind, subscribe
from celery_jobs.plugin import plugin_of
from celery_jobs.worker.messenger import Messenger
from tests.callbacks.shop import make_app
from tests.processes import wait_until

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

__all__ = ["main"]


class Watch:
    """Notes what is looked for, the first time that it is imported, in any thread but the main one."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Note it, and leave it to others to find."""
        if threading.current_thread() is not threading.main_thread():
            self.found.append(name)
        return None


def main(database_url: str, count: int) -> None:
    """Send so many callbacks, and print their outcomes and the names of the modules as JSON."""
    plugin = plugin_of(make_app("memory://", database_url, jobs_http_allowed_hosts=["localhost"]))
    told: list[Event] = []
    subscribe(told.append)
    plugin.await_db()
    watch = Watch()
    sys.meta_path.insert(0, watch)
    messenger = Messenger(plugin)
    messenger.start()
    kinds = (Kind.CALLBACK_SENT, Kind.CALLBACK_FAILED)
    wait_until(lambda: sum(event.kind in kinds for event in told) == count, 30)
    messenger.stop()
    print(json.dumps({"told": [[event.kind, event.details] for event in told], "imported": watch.found}))
    plugin.db.dispose()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
