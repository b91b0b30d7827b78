"""The reference configuration: `app.config_from_object("celeryconfig")` reads every name below.

The numbers are the plugin's defaults, so a line may go; `celery_jobs/settings.py` has every setting.
"""

import os
from typing import Any

# Where things are; each of the three may come from the environment.
broker_url = os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/0")
# A Redis broker keeps the results too.
result_backend = os.environ.get("CELERY_RESULT_BACKEND", broker_url if broker_url.startswith("redis") else None)
# PostgreSQL: postgresql+psycopg://user:password@host/name. SQLite: a file, here in the working folder.
jobs_database_url = os.environ.get("JOBS_DATABASE_URL", "sqlite:///celery-jobs.sqlite3")

# A worker that starts before its broker waits for it.
broker_connection_retry_on_startup = True

# Events, for Flower: one when a task is sent, and those of the workers (as with `worker -E`).
task_send_sent_event = True
worker_send_task_events = True

# How the jobs of every queue are treated that `jobs_queues` does not list.
jobs_queue_defaults: dict[str, Any] = {
    "retries_enabled": True,
    "retry_delays": [60, 1800, 10800],  # seconds before attempts 2, 3 and 4; then the job is dead-lettered
    "dlq_retention_days": 14,
    "history_retention_days": 30,
    "visibility_timeout": 1350,  # seconds of a claim's lease, where no worker's heartbeat bounds it
}

# Queues that differ, as examples; what one does not say it has from the defaults.
jobs_queues: dict[str, dict[str, Any]] = {
    # Worth many tries, each wait drawn from its upper half; the last one repeats.
    "payments": {
        "retry_policy": {"delays": [1, 2, 4, 8, 16, 32, 64, 128, 256, 300], "max_attempts": 12, "jitter": True},
        "dlq_retention_days": 90,
    },
    # Not worth a second try: a failure ends the job, outside the dead-letter queue.
    "thumbnails": {"retries_enabled": False, "history_retention_days": 2},
}

# How often the services run, in seconds. The services and the entries below read the same four values:
# change an interval here, and both have it.
jobs_promote_interval = 60.0
jobs_redispatch_interval = 60.0
jobs_reap_interval = 15.0
jobs_sweep_interval = 86_400.0

# Run one `celery beat`; more do no harm, each turn is taken once. A tick that waits a whole interval expires.
# Every worker consumes the queue celery-jobs besides its own -Q.
beat_schedule: dict[str, dict[str, Any]] = {
    # Sends the jobs that wait in SQL, when they fall due.
    "celery-jobs.promoter": {
        "task": "celery_jobs.promoter",
        "schedule": jobs_promote_interval,
        "options": {"queue": "celery-jobs", "expires": jobs_promote_interval},
    },
    # Sends again what the broker has lost.
    "celery-jobs.redispatcher": {
        "task": "celery_jobs.redispatcher",
        "schedule": jobs_redispatch_interval,
        "options": {"queue": "celery-jobs", "expires": jobs_redispatch_interval},
    },
    # Brings back the jobs of workers that have died.
    "celery-jobs.reaper": {
        "task": "celery_jobs.reaper",
        "schedule": jobs_reap_interval,
        "options": {"queue": "celery-jobs", "expires": jobs_reap_interval},
    },
    # Deletes dead letters older than their queue's dlq_retention_days.
    "celery-jobs.dead-letter-sweeper": {
        "task": "celery_jobs.dead_letter_sweeper",
        "schedule": jobs_sweep_interval,
        "options": {"queue": "celery-jobs", "expires": jobs_sweep_interval},
    },
    # Deletes ended jobs older than their queue's history_retention_days.
    "celery-jobs.history-sweeper": {
        "task": "celery_jobs.history_sweeper",
        "schedule": jobs_sweep_interval,
        "options": {"queue": "celery-jobs", "expires": jobs_sweep_interval},
    },
    # An app's own entries go here; each of their ticks makes one job:
    # "close-the-books": {"task": "shop.close_the_books", "schedule": crontab(hour=3, minute=0)},
}
