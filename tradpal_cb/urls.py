"""Every URL of the control plane; no trailing slashes but under ``/admin/``."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("", include("dashboard.urls")),
    path("", include("breakers.api.urls")),
]

handler400 = "tradpal_cb.failures.bad_request"
handler404 = "tradpal_cb.failures.not_found"
handler500 = "tradpal_cb.failures.server_error"
