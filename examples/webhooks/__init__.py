"""A small webhook product on celery-jobs: events are published, and delivered to who registered for them."""
