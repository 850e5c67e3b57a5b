"""The house: its top level, its floors, its doors."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.apps import apps
from django.db import models

from billing_site import settings

APPS = ("ledger", "metering", "invoicing", "marketplaces", "payments")
FLOORS = {"kernel": 0, "ledger": 1, "metering": 1, "invoicing": 2, "marketplaces": 3, "payments": 4}
FIXED = {"manage.py", "billing_site", *APPS, "tests", "requirements.txt", "README.md"}
TOOLS = {
    "pyproject.toml",
    "bin",
    "docs",
    "benchmarks",
    "deploy",
    ".ci",
    ".gitignore",
    "requirements-dev.txt",
    "requirements.lock",
    "requirements-dev.lock",
    "LICENSE",
}


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def own_models() -> list[type[models.Model]]:
    return [model for model in apps.get_models(include_auto_created=True) if model._meta.app_label in FLOORS]


class TestTopLevel:
    def test_holds_what_is_fixed_and_only_tools_beside_it(self) -> None:
        there = {path.split("/")[0] for path in tracked()}
        assert there >= FIXED
        assert there - FIXED <= TOOLS


class TestFloors:
    def test_are_held_by_every_import(self) -> None:
        checked = subprocess.run(
            [Path(sys.executable).parent / "lint-imports", "--no-cache"],
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout

    def test_are_held_by_every_foreign_key_named_as_text_or_not(self) -> None:
        upward = [
            f"{model.__name__}.{field.name} -> {field.related_model._meta.label}"
            for model in own_models()
            for field in model._meta.get_fields()
            if isinstance(field, models.ForeignKey | models.ManyToManyField | models.OneToOneField)
            and (there := field.related_model._meta.app_label) in FLOORS
            and there != model._meta.app_label
            and FLOORS[there] >= FLOORS[model._meta.app_label]
        ]
        assert upward == []

    def test_keep_tenants_of_the_lower_floors_as_text(self) -> None:
        for model in own_models():
            if FLOORS[model._meta.app_label] < FLOORS["invoicing"]:
                names = {field.name for field in model._meta.get_fields()}
                assert "tenant" not in names, model


class TestDoors:
    @pytest.mark.parametrize("app", APPS)
    def test_stand_in_every_app_under_djangos_names(self, app: str) -> None:
        folder = settings.BASE_DIR / app
        assert (folder / "__init__.py").read_text().startswith('"""')
        for door in ("apps.py", "urls.py", "errors.py"):
            assert (folder / door).exists(), f"{app}/{door}"
        for door in ("models", "admin"):
            assert (folder / f"{door}.py").exists() or (folder / door / "__init__.py").exists(), f"{app}/{door}"

    def test_lead_to_files_that_fit_a_head(self) -> None:
        long = {
            path: lines
            for path in tracked()
            if path.endswith(".py") and not path.startswith("tests/") and "/migrations/" not in path
            if (lines := len((settings.BASE_DIR / path).read_text(encoding="utf-8").splitlines())) > 400
        }
        assert long == {}

    def test_lead_to_no_utils(self) -> None:
        assert [path for path in tracked() if Path(path).stem in {"utils", "util", "helpers", "common", "misc"}] == []
