"""The shop's table."""

from __future__ import annotations

from uuid import uuid4

from django.db import models

__all__ = ["Order"]


def new_id() -> str:
    return uuid4().hex


class Order(models.Model):
    id = models.CharField(primary_key=True, max_length=32, default=new_id)
    seat = models.CharField(max_length=10, unique=True)
    card = models.CharField(max_length=20)
    paid = models.BooleanField(default=False)
