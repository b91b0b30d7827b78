"""How fast celery-jobs is, beside bare Celery and the alternatives, in one run: `python -m benchmarks`."""
