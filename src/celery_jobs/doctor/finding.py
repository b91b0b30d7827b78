"""A finding, and what finds it: a function over the app's plugin that yields (words, advice)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from celery_jobs.errors import JobsError

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin

__all__ = ["SEVERITIES", "Check", "Finding", "Severity", "check"]

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The worst first."""

Look = Callable[["Plugin"], Iterable[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a check has found. `words`: what is so, and where; `advice`: what to do."""

    severity: Severity
    check: str
    words: str
    advice: str

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Check:
    """One question and how bad it is where the answer is yes."""

    name: str
    severity: Severity
    look: Look

    def __call__(self, plugin: Plugin) -> list[Finding]:
        """What it finds; that it could not look is a finding too. Raises what our own errors say."""
        try:
            return [Finding(self.severity, self.name, words, advice) for words, advice in self.look(plugin)]
        except JobsError:
            raise
        except Exception as error:
            return [self._blind(error)]

    def _blind(self, error: Exception) -> Finding:
        severity: Severity = "info" if self.severity == "info" else "warning"
        words = f"could not look: {type(error).__name__}: {error}"
        return Finding(severity, self.name, words, "let this machine and its user ask, or look by hand")


def check(name: str, severity: Severity) -> Callable[[Look], Check]:
    """Make a check of a function."""
    return lambda look: Check(name, severity, look)
