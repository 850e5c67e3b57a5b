"""Metering under /v1."""

from typing import Any

urlpatterns: list[Any] = []
