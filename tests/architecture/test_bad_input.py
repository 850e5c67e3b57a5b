"""Bad input at every address of the API: a problem that says what is wrong, and nothing stored."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from billing_site.kernel import models
from tests.architecture.test_floors import own_models
from tests.architecture.test_surfaces import addresses, has_method
from tests.factories import kernel as factories

pytestmark = pytest.mark.django_db
OPEN = {"v1/schema"}


def paths(method: str) -> Iterator[str]:
    """Every address under /v1 that has the method, with ids that nothing has."""
    for address, callback in addresses():
        if address.startswith("v1/") and address not in OPEN and has_method(address, callback, method):
            yield "/" + re.sub(r"<[^>]+>", "nothing-here", address)


def stored() -> dict[str, int]:
    counts = {}
    with connection.cursor() as cursor:
        for model in own_models():
            if model is not models.ApiKey:
                cursor.execute(f'SELECT count(*) FROM "{model._meta.db_table}"')
                counts[model._meta.db_table] = cursor.fetchone()[0]
    return counts


def assert_problem(response: Any, *statuses: int) -> None:
    assert response.status_code in statuses, response.content[:500]
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert body["code"]
    assert body["detail"]
    assert body["request_id"] == response["X-Request-Id"]


def missing(path: str) -> tuple[int, ...]:
    """Where the path itself names something, that it does not exist may be said first."""
    return (404,) if "nothing-here" in path else ()


@pytest.mark.parametrize("path", sorted(paths("post")))
class TestPost:
    def test_without_a_key_is_a_401(self, path: str) -> None:
        assert_problem(APIClient().post(path, {}, format="json"), 401)

    def test_without_the_scope_is_a_403(self, path: str) -> None:
        assert_problem(factories.client("ledger:read").post(path, {}, format="json"), 403)

    @pytest.mark.parametrize("raw", ["", "{", "\x00", "[", '{"a": NaN}', "5", '"text"', "null"])
    def test_that_is_not_a_json_object_is_a_400(self, path: str, raw: str) -> None:
        before = stored()
        response = factories.client().post(path, raw, content_type="application/json")
        assert_problem(response, 400, *missing(path))
        assert stored() == before

    def test_with_an_unknown_field_is_a_400_with_its_pointer(self, path: str) -> None:
        before = stored()
        response = factories.client().post(path, {"no_such_field": 1}, format="json")
        # One object is one event, and a bad event has a verdict of its own.
        if path in ("/v1/events", "/v1/events/requests"):
            assert response.json()["rejected"] == 1
            return
        assert_problem(response, 400, *missing(path))
        if response.status_code == 400:
            assert "/no_such_field" in {error["pointer"] for error in response.json()["errors"]}
        assert stored() == before

    def test_of_nine_megabytes_is_a_413(self, path: str) -> None:
        before = stored()
        raw = '{"name": "' + "x" * (9 * 1024 * 1024) + '"}'
        response = factories.client().post(path, raw, content_type="application/json")
        assert_problem(response, 413, *missing(path))
        assert stored() == before

    def test_in_another_form_is_a_415(self, path: str) -> None:
        response = factories.client().post(path, "a=b", content_type="application/x-www-form-urlencoded")
        assert_problem(response, 415, *missing(path))


@pytest.mark.parametrize("path", sorted(paths("get")))
class TestGet:
    def test_without_a_key_is_a_401(self, path: str) -> None:
        assert_problem(APIClient().get(path), 401)

    def test_without_the_scope_is_a_403(self, path: str) -> None:
        assert_problem(factories.client("events:backfill").get(path), 403)

    def test_with_an_unknown_parameter_is_a_400(self, path: str) -> None:
        response = factories.client().get(f"{path}?no_such_parameter=1")
        assert_problem(response, 400, *missing(path))
        if response.status_code == 400:
            assert "?no_such_parameter" in {error["pointer"] for error in response.json()["errors"]}

    def test_with_another_method_is_a_405(self, path: str) -> None:
        assert_problem(factories.client().delete(path), 405)
