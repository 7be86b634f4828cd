"""Django REST framework as its tutorial has it: a model, a serializer, a view set; for gunicorn.

gunicorn bench.bases.drf:app
"""

import os
import secrets
from typing import Any

import django
from django.conf import settings

TOKEN = "agent123"  # noqa: S105

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DATABASE_URL"].removeprefix("sqlite:///"),
            "CONN_MAX_AGE": None,
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["rest_framework"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "UNAUTHENTICATED_USER": None,
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_hex(),
    USE_TZ=True,
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402 (Django is set up first)
from django.db import connection, models  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from rest_framework import pagination, permissions, routers, serializers, viewsets  # noqa: E402


class Customer(models.Model):
    name = models.CharField(max_length=200)
    email = models.EmailField(unique=True)
    company = models.CharField(max_length=200, null=True)  # noqa: DJ001 (as the CRM has it)
    phone = models.CharField(max_length=50, null=True)  # noqa: DJ001
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "bench"

    def __str__(self) -> str:
        return str(self.name)


class CustomerSerializer(serializers.ModelSerializer):
    class Meta:
        model = Customer
        fields = "__all__"


class HasToken(permissions.BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        given = request.headers.get("Authorization", "")
        return secrets.compare_digest(given, f"Bearer {TOKEN}")


class Pages(pagination.CursorPagination):
    page_size = 50
    ordering = "id"


class Customers(viewsets.ModelViewSet):
    queryset = Customer.objects.order_by("id")
    serializer_class = CustomerSerializer
    permission_classes = (HasToken,)
    pagination_class = Pages


def health(_request: Any) -> JsonResponse:
    return JsonResponse({"status": "ok"})


router = routers.SimpleRouter(trailing_slash=False)
router.register("customers", Customers)
urlpatterns = [path("api/", include(router.urls)), path("health", health)]

if Customer._meta.db_table not in connection.introspection.table_names():  # noqa: SLF001
    with connection.schema_editor() as editor:
        editor.create_model(Customer)
app = get_wsgi_application()
