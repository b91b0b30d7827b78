"""The virtual clock of a sandbox: it stands still until the test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["VirtualClock"]


class VirtualClock:
    """Starts at the real time, in UTC, and never goes back."""

    def __init__(self) -> None:
        self.now = self._began = datetime.now(UTC)

    def __call__(self) -> datetime:
        """The virtual time."""
        return self.now

    def monotonic(self) -> float:
        """Seconds since it started."""
        return (self.now - self._began).total_seconds()

    def advance(self, by: float | timedelta) -> datetime:
        """Move on, by seconds or a timedelta, and give the new time; raises ValueError for a step back."""
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        if step < timedelta(0):
            raise ValueError(f"time does not go back: advance takes 0 or more seconds, not {step.total_seconds():g}")
        self.now += step
        return self.now

    def reach(self, moment: datetime) -> None:
        """Move on to `moment`, if it lies ahead."""
        self.now = max(self.now, moment)
