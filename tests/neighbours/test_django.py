"""django-celery-results and django-celery-beat beside us: stories_of_django.py, in a process of its own.

Django configures the whole process, its time zone too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import SOURCE

STORIES = Path(__file__).with_name("stories_of_django.py")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.matrix)], indirect=True
)
def test_the_stories_of_django(broker_url: str, database_url: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    place = {
        "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)]),
        "DJANGO_SETTINGS_MODULE": "tests.neighbours.project.settings",
        "CELERY_BROKER_URL": broker_url,
        "JOBS_DATABASE_URL": database_url,
    }
    django = ["-p", "tests.neighbours.project.ready"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", *django, str(STORIES)],
        cwd=SOURCE.parent,
        env=inherited | place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
