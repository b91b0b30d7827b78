"""The table of the orders."""

from __future__ import annotations

from django.db import migrations, models

from orders.models import new_id


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.CharField(default=new_id, max_length=32, primary_key=True, serialize=False)),
                ("seat", models.CharField(max_length=10, unique=True)),
                ("card", models.CharField(max_length=20)),
                ("paid", models.BooleanField(default=False)),
            ],
        ),
    ]
