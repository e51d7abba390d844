"""The pages of people; no trailing slashes."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import URLPattern, path

from . import actions, forcing, views

app_name = "dashboard"
urlpatterns: list[URLPattern] = [
    path("", views.root, name="root"),
    path("dashboard", views.dashboard, name="overview"),
    path("dashboard/latest", views.latest, name="latest"),
    path("dashboard/reset", actions.reset, name="reset"),
    path("dashboard/reset-all", actions.reset_all, name="reset_all"),
    path("dashboard/release", actions.release, name="release"),
    path("dashboard/breakers/<str:name>", views.breaker, name="breaker"),
    path("dashboard/breakers/<str:name>/<str:override>", forcing.force, name="force"),
    path("dashboard/alerts", views.alerts, name="alerts"),
    path("dashboard/events", views.events, name="events"),
    path("dashboard/instances", views.instances, name="instances"),
    path("dashboard/connect", views.connect, name="connect"),
    path(
        "dashboard/login",
        LoginView.as_view(template_name="dashboard/login.html", next_page="dashboard:overview"),
        name="login",
    ),
    path("dashboard/logout", LogoutView.as_view(next_page="dashboard:overview"), name="logout"),
]
