"""The app that the worker process loads."""

from __future__ import annotations

import os

from tests.lifecycle.shop import make_app

app = make_app(os.environ["SHOP_BROKER_URL"], os.environ["SHOP_DATABASE_URL"])
