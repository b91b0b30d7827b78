"""Every route of ours in Flower, with the handler that Tornado imports when Flower makes its application."""

from __future__ import annotations

__all__ = ["ROUTES"]

_PAGES = "celery_jobs.web.pages"

ROUTES: list[tuple[str, str]] = [
    (r"/jobs/static/(.*)", "celery_jobs.web.static_files.StaticFiles"),
    (r"/api/v1(/.*)", "celery_jobs.web.api.handler.ApiHandler"),
    (r"/jobs", f"{_PAGES}.list.ListPage"),
]
"""Patterns and handlers; the first that matches is taken."""
