"""Every route of ours in Flower, with the handler that Tornado imports when Flower makes its application."""

from __future__ import annotations

__all__ = ["ROUTES"]

_PAGES = "celery_jobs.web.pages"

ROUTES: list[tuple[str, str]] = [
    (r"/jobs/static/(.*)", "celery_jobs.web.static_files.StaticFiles"),
    (r"/metrics", "celery_jobs.web.metrics.Metrics"),
    (r"/api/v1(/.*)", "celery_jobs.web.api.handler.ApiHandler"),
    (r"/jobs", f"{_PAGES}.list.ListPage"),
    (r"/jobs/overview", f"{_PAGES}.overview.OverviewPage"),
    (r"/jobs/overview\.json", f"{_PAGES}.overview.OverviewData"),
    (r"/jobs/dead-letters", f"{_PAGES}.dead_letters.DeadLettersPage"),
    (r"/jobs/queues", f"{_PAGES}.queues.QueuesPage"),
    (r"/jobs/schedules", f"{_PAGES}.schedules.SchedulesPage"),
    (r"/jobs/new", f"{_PAGES}.new.NewPage"),
    (r"/jobs/new/check", f"{_PAGES}.new.CheckPage"),
    (r"/jobs/bulk", f"{_PAGES}.bulk.BulkPage"),
    (r"/jobs/acts/([^/]+)", f"{_PAGES}.act.ActPage"),
    (r"/jobs/audit", f"{_PAGES}.audit.AuditPage"),
    (r"/jobs/audit\.(csv|json)", f"{_PAGES}.audit.AuditExport"),
    (r"/jobs/tokens", f"{_PAGES}.tokens.TokensPage"),
    (r"/jobs/([^/]+)", f"{_PAGES}.job.JobPage"),
]
"""Patterns and handlers; the first that matches is taken."""
