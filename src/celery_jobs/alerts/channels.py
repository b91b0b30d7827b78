"""The services that alerts go out by: Apprise, made ready where a worker starts."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from celery_jobs.errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.alerts.letter import Letter
    from celery_jobs.destinations import Destination, Destinations

__all__ = ["Channels", "Delivery"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a letter at one destination. `service`: its name; `error` None: it was taken."""

    service: str
    error: str | None

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return asdict(self)


class Channels:
    """Apprise, with every destination read; raises InvalidSettings where it is missing or cannot read one."""

    def __init__(self, destinations: Destinations) -> None:
        self._apprise = _apprise()
        self._asset = self._apprise.AppriseAsset(app_id="celery-jobs", app_desc="Dead letters", plugin_paths=None)
        self._destinations = destinations
        self._services = {destination: self._service(destination) for destination in destinations.everybody()}
        unread = [str(destination) for destination, service in self._services.items() if service is None]
        if unread:
            words = f"{', '.join(unread)}: Apprise cannot read this; see https://appriseit.com/services/ for the form"
            raise InvalidSettings([f"jobs_alert_urls: {words}"])

    def send(self, queue: str | None, letter: Letter) -> list[Delivery]:
        """Send a letter to the destinations of a queue, one after the other; what became of it at each."""
        return [self._send(self._services[to], letter) for to in self._destinations.of(queue)]

    def _service(self, destination: Destination) -> Any:
        with _unlogged():
            return self._apprise.Apprise.instantiate(destination.url, asset=self._asset)

    def _send(self, service: Any, letter: Letter) -> Delivery:
        name = str(service.service_name)
        sender = self._apprise.Apprise(asset=self._asset)
        sender.add(service)
        try:
            taken = sender.notify(
                title=letter.title,
                body=letter.body,
                notify_type=self._apprise.NotifyType.FAILURE,
                body_format=self._apprise.NotifyFormat.TEXT,
            )
        except Exception as error:
            return Delivery(name, type(error).__name__)
        return Delivery(name, None if taken else "the service did not take it; see the log of apprise")


@contextmanager
def _unlogged() -> Iterator[None]:
    """Apprise logs a URL that it cannot read, with all that is secret in it."""
    logger = logging.getLogger("apprise")
    logger.addFilter(_nothing)
    try:
        yield
    finally:
        logger.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


def _apprise() -> Any:
    try:
        import apprise
    except ImportError:
        words = "alerts are sent by Apprise, which is not installed; run: pip install 'celery-jobs[alerts]'"
        raise InvalidSettings([f"jobs_alert_urls: {words}"]) from None
    return apprise
