"""The services that alerts go out by: Apprise, made ready where a worker starts."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from celery_jobs.errors import InvalidSettings
from celery_jobs.settings import ALERT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        _hush()
        # Without a limit of its own Apprise makes no threads: those would be lost to pool children that are forked
        # later, and hold up the end of the process while a service hangs.
        self._asset = self._apprise.AppriseAsset(app_id="celery-jobs", app_desc="Dead letters", service_timeout=0)
        self._destinations = destinations
        self._services = {destination: self._service(destination) for destination in destinations.everybody()}
        unread = [str(destination) for destination, service in self._services.items() if service is None]
        if unread:
            words = f"{', '.join(unread)}: Apprise cannot read this; see https://appriseit.com/services/ for the form"
            raise InvalidSettings([f"jobs_alert_urls: {words}"])

    def send(self, queue: str | None, letter: Letter, within: float = ALERT_TIMEOUT) -> list[Delivery]:
        """Send a letter to the destinations of a queue, all at once; what became of it at each `within` seconds."""
        until = time.monotonic() + within
        services = [self._services[destination] for destination in self._destinations.of(queue)]
        sendings = [_Sending(str(service.service_name), partial(self._send, service, letter)) for service in services]
        return [sending.delivery(until, f"no answer within {within:g} s") for sending in sendings]

    def _service(self, destination: Destination) -> Any:
        with _hushed():
            service = self._apprise.Apprise.instantiate(destination.url, asset=self._asset)
        if service is not None and "overflow=" not in destination.url:
            # What is too long for a service comes in parts; sent whole it would be refused.
            service.overflow_mode = self._apprise.OverflowMode.SPLIT
        return service

    def _send(self, service: Any, letter: Letter) -> str | None:
        """Why it was not taken, if it was not."""
        sender = self._apprise.Apprise(asset=self._asset)
        sender.add(service)
        with _hushed():
            try:
                taken = sender.notify(
                    title=letter.title,
                    body=letter.body,
                    notify_type=self._apprise.NotifyType.FAILURE,
                    body_format=self._apprise.NotifyFormat.TEXT,
                )
            except Exception as error:
                return type(error).__name__
        return None if taken else "refused, or not reached"


class _Sending:
    """A letter on its way to one destination, in a thread that nobody waits for in the end."""

    def __init__(self, service: str, send: Callable[[], str | None]) -> None:
        self._service = service
        self._send = send
        self._delivery: Delivery | None = None
        self._thread = threading.Thread(target=self._run, name="celery-jobs-alert", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._delivery = Delivery(self._service, self._send())

    def delivery(self, until: float, late: str) -> Delivery:
        """What became of it until a moment of the monotonic clock; `late`: the error of what is under way still."""
        self._thread.join(max(0.0, until - time.monotonic()))
        return self._delivery or Delivery(self._service, late)


_hush_here = threading.local()


@contextmanager
def _hushed() -> Iterator[None]:
    """What is logged in this thread about URLs shows all that is secret in them; what became of it, we say."""
    _hush_here.on = True
    try:
        yield
    finally:
        _hush_here.on = False


def _hush() -> None:
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_is_not_hushed)  # once, however often it is added


def _is_not_hushed(record: logging.LogRecord) -> bool:
    return not getattr(_hush_here, "on", False)


def _apprise() -> Any:
    try:
        import apprise
    except ImportError:
        words = "alerts are sent by Apprise, which is not installed; run: pip install 'celery-jobs[alerts]'"
        raise InvalidSettings([f"jobs_alert_urls: {words}"]) from None
    return apprise
