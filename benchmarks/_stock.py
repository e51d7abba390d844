"""The control plane as a tutorial would build it: Django's own handler, REST framework, serializers over the ORM."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.core.asgi import get_asgi_application

settings.ROOT_URLCONF = __name__
settings.DATABASES["default"]["CONN_MAX_AGE"] = 0
application = get_asgi_application()

from django.urls import path  # noqa: E402  # needs the app registry, as all below
from rest_framework import generics, serializers  # noqa: E402
from rest_framework.pagination import PageNumberPagination  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from breakers import services  # noqa: E402
from breakers.api.permissions import MayReset, actor_of  # noqa: E402
from breakers.models import BreakerConfig, StateChange  # noqa: E402


class Row(serializers.ModelSerializer[BreakerConfig]):
    class Meta:
        model = BreakerConfig
        fields = "__all__"


class State(serializers.ModelSerializer[BreakerConfig]):
    state = serializers.SerializerMethodField()

    class Meta:
        model = BreakerConfig
        fields: ClassVar = ("name", "override", "version", "state")

    def get_state(self, row: BreakerConfig) -> str:
        last = StateChange.objects.filter(breaker=row.name).order_by("-at").first()
        return last.to_state if last else "closed"


class Pages(PageNumberPagination):
    page_size = 100


class ListView(generics.ListAPIView[BreakerConfig]):
    queryset = BreakerConfig.objects.order_by("name")
    serializer_class = Row
    pagination_class = Pages


class StateView(generics.RetrieveAPIView[BreakerConfig]):
    queryset = BreakerConfig.objects.all()
    serializer_class = State
    lookup_field = "name"


class DashboardView(APIView):
    def get(self, request: Request) -> Response:
        rows = Row(BreakerConfig.objects.order_by("name"), many=True).data
        return Response({"summary": {"total": BreakerConfig.objects.count()}, "breakers": rows})


class ResetView(APIView):
    permission_classes = (MayReset,)

    def post(self, request: Request, name: str) -> Response:
        command: Any = services.breaker_reset(name=name, reason="", by=actor_of(request))
        return Response({"status": "reset", "command": command.id})


urlpatterns = [
    path("circuit-breakers", ListView.as_view()),
    path("circuit-breakers/<str:name>/state", StateView.as_view()),
    path("circuit-breakers/<str:name>/reset", ResetView.as_view()),
    path("dashboard", DashboardView.as_view()),
]
