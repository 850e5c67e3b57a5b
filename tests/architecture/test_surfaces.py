"""What holds for every screen, address, task and table, also for those that are added later."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection, models
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import SchemaGenerator

from billing_site import schedule, settings
from billing_site.celery import app as celery_app
from billing_site.kernel import admin as kernel_admin
from billing_site.kernel import api
from tests.architecture.test_floors import own_models

PLAIN = {("v1/events", "post"), ("v1/events/requests", "post")}  # what is served by a plain view, for speed


def has_method(address: str, callback: Any, method: str) -> bool:
    return hasattr(getattr(callback, "view_class", None), method) or (address, method) in PLAIN


def addresses(patterns: Any = None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            yield prefix + str(pattern.pattern), pattern.callback


def api_views() -> list[tuple[str, type[api.Endpoint]]]:
    return [
        (address, callback.view_class)
        for address, callback in addresses()
        if address.startswith("v1/") and issubclass(getattr(callback, "view_class", object), api.Endpoint)
    ]


class TestAdmin:
    def test_shows_every_model_read_only_with_search_and_filters(self) -> None:
        for model in own_models():
            screen = admin.site._registry.get(model)
            assert screen is not None, f"{model.__name__} has no screen"
            assert isinstance(screen, kernel_admin.ReadOnlyModelAdmin), model
            assert screen.search_fields, f"{model.__name__} cannot be searched"
            assert screen.list_filter, f"{model.__name__} cannot be filtered"


class TestApi:
    def test_has_a_scope_for_every_method(self) -> None:
        views = api_views()
        assert len(views) > 15
        for address, view in views:
            for method in ("get", "post", "patch", "put", "delete"):
                if hasattr(view, method):
                    assert method.upper() in view.scopes, f"{method} {address}"

    def test_takes_an_idempotency_key_on_every_post(self) -> None:
        for address, view in api_views():
            post = getattr(view, "post", None)
            if post is not None:
                assert getattr(post, "takes_idempotency_key", False), address

    def test_has_no_trailing_slash(self) -> None:
        assert [address for address, _ in addresses() if address.startswith("v1/") and address.endswith("/")] == []


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return made


class TestOpenApi:
    def test_describes_everything_served_and_nothing_else(self, document: dict[str, Any]) -> None:
        described = {(path, method) for path, item in document["paths"].items() for method in item}
        served = {
            ("/" + re.sub(r"<[a-z]+:([a-z_]+)>", r"{\1}", address), method)
            for address, callback in addresses()
            if address.startswith(("v1/", "webhooks/")) and address != "v1/schema"
            for method in ("get", "post", "patch", "put", "delete")
            if has_method(address, callback, method)
        }
        assert described == served | {("/healthz", "get"), ("/readyz", "get"), ("/metrics", "get")}

    def test_tells_each_problem_as_rfc_9457(self, document: dict[str, Any]) -> None:
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if path.startswith("/v1"):
                    assert {"400", "401", "403"} <= set(operation["responses"]), (method, path)
                for status, answer in operation["responses"].items():
                    if status >= "400" and path.startswith("/v1"):
                        assert set(answer["content"]) == {"application/problem+json"}, (method, path, status)


class TestSchedule:
    def test_names_tasks_that_are_registered(self) -> None:
        celery_app.loader.import_default_modules()
        named = {entry["task"] for entry in schedule.entries().values()}
        assert named <= set(celery_app.tasks)


class TestMigrations:
    def test_are_complete(self) -> None:
        checked = subprocess.run(
            [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"],
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.django_db
class TestServiceRole:
    def test_owns_nothing_and_may_make_nothing(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT relname FROM pg_class WHERE relowner = current_user::regrole")
            assert cursor.fetchall() == []
            cursor.execute("SELECT proname FROM pg_proc WHERE proowner = current_user::regrole")
            assert cursor.fetchall() == []
            cursor.execute(
                "SELECT has_schema_privilege('public', 'CREATE'), rolsuper, rolcreatedb, rolcreaterole, rolbypassrls"
                " FROM pg_roles WHERE rolname = current_user",
            )
            assert cursor.fetchone() == (False,) * 5

    def test_has_on_each_table_what_its_app_declares_and_no_more(self) -> None:
        with connection.cursor() as cursor:
            for config in apps.get_app_configs():
                declared = getattr(config, "service_privileges", {})
                tables = {model._meta.db_table for model in config.get_models(include_auto_created=True)}
                for table in tables | set(declared):
                    expected = set(declared.get(table, "SELECT, INSERT, UPDATE, DELETE").split(", "))
                    cursor.execute(
                        "SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER',"
                        " 'REFERENCES']) p WHERE has_table_privilege(current_user, %s::regclass, p)",
                        [f'"{table}"'],
                    )
                    assert {privilege for (privilege,) in cursor.fetchall()} == expected, table

    def test_may_run_the_functions_that_are_declared_and_no_other_definers(self) -> None:
        declared = {
            signature for config in apps.get_app_configs() for signature in getattr(config, "service_functions", ())
        }
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.prosecdef"
                " AND p.pronamespace = 'public'::regnamespace AND p.prorettype <> 'trigger'::regtype"
                " AND has_function_privilege(p.oid, 'EXECUTE')",
            )
            may_run = {signature for (signature,) in cursor.fetchall()}
            expected = set()
            for signature in declared:
                cursor.execute("SELECT %s::regprocedure::text", [signature])
                expected.add(cursor.fetchone()[0])
        assert may_run == expected

    def test_meets_definers_that_look_into_its_own_schema_last(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
                " AND ('search_path=pg_catalog, pg_temp' = ANY(proconfig)) IS NOT TRUE",
            )
            assert cursor.fetchall() == []


class TestTables:
    def test_keep_no_float(self) -> None:
        floats = [
            f"{model.__name__}.{field.name}"
            for model in own_models()
            for field in model._meta.get_fields()
            if isinstance(field, models.FloatField)
        ]
        assert floats == []

    def test_keep_cents_in_bigints(self) -> None:
        for model in own_models():
            for field in model._meta.get_fields():
                if field.name.endswith("_cents") and isinstance(field, models.IntegerField):
                    assert isinstance(field, models.BigIntegerField), f"{model.__name__}.{field.name}"
