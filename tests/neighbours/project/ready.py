"""Makes Django ready, for a pytest of the project's own: its models can be imported from then on."""

from __future__ import annotations

import django

django.setup()
