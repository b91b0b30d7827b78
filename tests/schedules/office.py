"""An office whose beats are real processes; its entries are told by the environment."""

from __future__ import annotations

import os

from celery.schedules import crontab

from tests.faults.shops import new_shop

SETTINGS, ENTRIES = "OFFICE_SETTINGS", "OFFICE_ENTRIES"

PLANS = {
    "interval": {"open-up": {"task": "office.note", "schedule": 1.0, "args": ["second"]}},
    "crontab": {"close-up": {"task": "office.note", "schedule": crontab(), "args": ["minute"]}},
    "none": {},
}

app = new_shop("office", SETTINGS, beat_schedule=PLANS[os.environ.get(ENTRIES, "none")], beat_max_loop_interval=1)


@app.task(name="office.note")
def note(text: str) -> str:
    return text
