"""A client that may read and write billing."""

import pytest
from rest_framework.test import APIClient

from tests.factories import kernel


@pytest.fixture
def api(db: None) -> APIClient:
    return kernel.client("billing:read", "billing:write")
