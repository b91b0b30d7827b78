"""The Flask app and its Celery app, made as Flask's documentation makes them, and the one line more."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task
from flask import Flask

import celery_jobs
from flask_app import database, views

__all__ = ["celery_init_app", "create_app"]


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_mapping(
        CELERY={
            # On a laptop another SQLite file; in production Redis or RabbitMQ.
            "broker_url": os.environ.get("CELERY_BROKER_URL", "sqla+sqlite:///broker.sqlite3"),
            "broker_connection_retry_on_startup": True,
            "jobs_database_url": database.URL,  # where the orders are: a transaction ends in one database
            "jobs_queue_defaults": {"retry_delays": [1, 2]},  # seconds; in production rather the default
        },
    )
    app.register_blueprint(views.blueprint)
    app.teardown_appcontext(database.close)
    app.cli.command("create-tables")(database.create_tables)
    celery_init_app(app)
    return app


def celery_init_app(app: Flask) -> Celery:
    class FlaskTask(Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_jobs.install(celery_app)  # the one line
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app
