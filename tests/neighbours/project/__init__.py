"""A Django project with django-celery-beat and django-celery-results, and celery-jobs."""
