"""The announcer: tells people of dead letters, in a thread of the worker's parent (semantics.md section 8).

It looks when an attempt has failed in this worker, and now and then for what others have left.
"""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TYPE_CHECKING

from celery_jobs import settings
from celery_jobs.alerts import Channels, letter_of
from celery_jobs.alerts.letter import MOST_DEATHS
from celery_jobs.events import Kind, emit
from celery_jobs.store import alerts

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin
    from celery_jobs.store.alerts import Report

__all__ = ["Announcer"]

HOUR = 3600

PAUSE = 1.0
"""Seconds between two looks of a worker in which attempts fail."""

PATIENCE = 5.0
"""Seconds that a worker which stops waits for the alert that it is sending."""


class Announcer:
    """Sends the reports that are due, one after the other."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self._channels = Channels(plugin.settings.alert_urls)
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="celery-jobs-announcer", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def ring(self) -> None:
        """Look soon: an attempt has failed here, of a job that may be dead."""
        self._bell.set()

    def stop(self) -> None:
        """Look once more, and stop within 5 s; what is not sent by then is for other workers."""
        self._stopping.set()
        self._bell.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._look()
            self._bell.wait(min(self.plugin.settings.heartbeat_interval, self.plugin.settings.alert_window))
            self._stopping.wait(PAUSE)
            self._bell.clear()
        self._look()

    def _look(self) -> None:
        try:
            self.send_due()
        except Exception as error:
            emit(Kind.SERVICE_FAILED, service="announcer", error=repr(error))

    def send_due(self) -> int:
        """Send what is due of the queues whose alerts are enabled; the number of reports that reached somebody."""
        queues, but = self.plugin.settings.alerted_queues
        return sum(self._send_of(queue) for queue in alerts.due(self.plugin.db, queues, but))

    def _send_of(self, queue: str) -> bool:
        report = alerts.take(self.plugin.db, queue, settings.ALERT_LEASE)
        while report is not None and report.more:
            report = alerts.extend(self.plugin.db, report, settings.ALERT_LEASE)
        return report is not None and self._send(report)

    def _send(self, report: Report) -> bool:
        deaths = alerts.deaths(self.plugin.db, report.queue, HOUR, MOST_DEATHS + 1)
        deliveries = self._channels.send(report.queue, letter_of(self.plugin, report, deaths))
        failed = ", ".join(f"{delivery.service}: {delivery.error}" for delivery in deliveries if delivery.error)
        # Whoever was reached is not told twice for the sake of who was not.
        reached = any(delivery.error is None for delivery in deliveries)
        again_in = None if reached else self._again_in(report)
        if again_in is None:
            alerts.settle(self.plugin.db, report, self.plugin.settings.alert_window)
        else:
            alerts.again(self.plugin.db, report, again_in)
        if reached:
            emit(Kind.ALERT_SENT, queue=report.queue, dead_letters=report.count)
        if failed:
            emit(Kind.ALERT_FAILED, queue=report.queue, dead_letters=report.count, error=failed, again_in=again_in)
        return reached

    def _again_in(self, report: Report) -> float | None:
        """None where what died first is news no more."""
        if (report.until - datetime.fromisoformat(report.since)).total_seconds() > settings.ALERT_HORIZON:
            return None
        return settings.ALERT_RETRY_DELAYS[min(report.tries, len(settings.ALERT_RETRY_DELAYS)) - 1]
