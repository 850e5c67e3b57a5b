import io
import json
from typing import Protocol

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import CommandError, call_command
from django.test import Client

pytestmark = pytest.mark.django_db

PASSWORD = "a long enough pass phrase"


class Create(Protocol):
    def __call__(self, username: str, role: str, password: str = PASSWORD) -> dict[str, object]: ...


@pytest.fixture
def create(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Create:
    def run(username: str, role: str, password: str = PASSWORD) -> dict[str, object]:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
        call_command("create_admin_login", username, role=role, json=True)
        return dict(json.loads(capsys.readouterr().out))

    return run


class TestCreateAdminLogin:
    def test_makes_a_superuser_who_can_log_in(self, create: Create) -> None:
        assert create("admin", "superuser")["created"] is True
        user = authenticate(username="admin", password=PASSWORD)
        assert user is not None
        assert user.is_superuser

    def test_lets_finance_look_and_not_touch(self, create: Create, client: Client) -> None:
        create("finance", "finance")
        user = get_user_model().objects.get(username="finance")
        assert user.is_staff
        assert user.has_perm("kernel.view_apikey")
        assert not [name for name in user.get_all_permissions() if ".view_" not in name]
        client.force_login(user)
        assert client.get("/admin/").status_code == 200

    def test_changes_password_and_role_of_an_existing_login(self, create: Create) -> None:
        create("admin", "superuser")
        assert create("admin", "finance", "another pass phrase entirely")["created"] is False
        user = authenticate(username="admin", password="another pass phrase entirely")
        assert user is not None
        assert not user.is_superuser

    def test_refuses_a_weak_password(self, create: Create) -> None:
        with pytest.raises(CommandError, match="too short"):
            create("admin", "superuser", "short")
        assert not get_user_model().objects.exists()
