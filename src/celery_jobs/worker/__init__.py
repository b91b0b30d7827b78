"""The plugin in a Celery worker's parent process."""
