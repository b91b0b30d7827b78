"""How fast celery-jobs is, beside bare Celery and the alternatives, in one run on one machine: `python -m benchmarks`."""
