"""How Flower gets our pages: routes before its own, and a loader of templates that adds our tabs to its bar.

Flower 2.2 has no plug-ins. `flower.urls.handlers` and `flower.urls.settings` are what it makes its application of, and
`celery -A app flower` has loaded them before it loads the app. Handlers are named, not imported: every command of
Celery's loads `flower.urls`, and only Flower makes an application.
"""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from typing import Any

from celery_jobs.web.routes import ROUTES

__all__ = ["FLOWERS", "load"]

FLOWERS = ("2.2.",)
"""Beginnings of the versions of Flower that the tests prove."""

NEEDED = ("jsonschema",)
"""What the extra `flower` brings beside Flower itself."""


def load() -> bool:
    """Give our pages to the Flower that this process has loaded; False, and a line in the log, where it cannot be."""
    problem = _problem()
    if problem is not None:
        logging.getLogger("celery_jobs").warning("no pages of celery-jobs in Flower: %s", problem)
        return False
    urls: Any = sys.modules["flower.urls"]
    if "template_loader" not in urls.settings:
        from celery_jobs.web.template_loader import PageLoader

        urls.settings["template_loader"] = PageLoader(urls.settings["template_path"])
        urls.handlers[:0] = ROUTES
    return True


def _problem() -> str | None:
    version = str(getattr(sys.modules.get("flower"), "__version__", "unknown"))
    if not version.startswith(FLOWERS):
        known = " or ".join(f"{start}x" for start in FLOWERS)
        return f"it is Flower {version}, and {known} is known; install celery-jobs[flower]"
    missing = [name for name in NEEDED if find_spec(name) is None]
    return f"{', '.join(missing)} is missing; install celery-jobs[flower]" if missing else None
