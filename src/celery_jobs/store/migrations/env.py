"""Alembic's environment: migrates over the connection that `upgrade` hands it."""

from __future__ import annotations

from alembic import context

from celery_jobs.store.migrations import VERSION_TABLE
from celery_jobs.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
