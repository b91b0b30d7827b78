"""Which request is answered where."""

from __future__ import annotations

from django.urls import path

from orders import views

urlpatterns = [
    path("orders", views.place_order),
    path("orders/<order_id>", views.order),
    path("runs/<run_id>", views.show_run),
    path("runs/<run_id>/replay", views.replay_run),
]
