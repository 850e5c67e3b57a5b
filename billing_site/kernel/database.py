"""
The database's side of the kernel: roles and grants, SQL files of migrations, constraint names, retried transactions.

The service connects as a role that owns nothing. ``migrate`` runs as the owner (alias ``owner``) and afterwards grants
the service's role what each app declares: ``AppConfig.service_privileges`` (table name to privileges; every other table
of a model gets SELECT, INSERT, UPDATE, DELETE) and ``AppConfig.service_functions`` (signatures to EXECUTE).
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from django.apps import AppConfig, apps
from django.conf import settings
from django.db import DatabaseError, OperationalError, connections, migrations, models, transaction
from psycopg import errors as pg_errors
from psycopg import sql

T = TypeVar("T")

ALL_PRIVILEGES: Final = "SELECT, INSERT, UPDATE, DELETE"
_RETRIED: Final = (pg_errors.DeadlockDetected, pg_errors.SerializationFailure)


class ServiceRoleRouter:
    """Everything reads and writes as the service; the alias ``owner`` exists for ``migrate`` alone."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        """Leave reads on the default alias unless a caller names another."""
        return None

    def allow_relation(self, first: models.Model, second: models.Model, **hints: Any) -> bool:
        """Both aliases are one database."""
        return True


def run_sql_file(migration_file: str, name: str, reverse: str | None = None) -> migrations.RunSQL:
    """Run ``sql/<name>`` beside the migration; ``reverse`` names the file that undoes it."""
    folder = Path(migration_file).parent / "sql"
    backward = (folder / reverse).read_text(encoding="utf-8") if reverse else None
    return migrations.RunSQL((folder / name).read_text(encoding="utf-8"), backward)


def raised_constraint(error: BaseException) -> str | None:
    """The name of the constraint or trigger rule that PostgreSQL named in this error, if it named one."""
    cause = error.__cause__ if isinstance(error, DatabaseError) else error
    diagnosis = getattr(cause, "diag", None)
    return getattr(diagnosis, "constraint_name", None)


def retrying(work: Callable[[], T], *, attempts: int = 5) -> T:
    """
    Run ``work`` in a transaction of its own; a deadlock or serialization failure runs all of it again, bounded.

    Inside an open transaction nothing can be run again, so the error is passed on to whoever opened it.
    """
    for attempt in range(1, attempts + 1):
        outermost = not transaction.get_connection().in_atomic_block
        try:
            with transaction.atomic():
                return work()
        except OperationalError as error:
            if not outermost or attempt == attempts or not isinstance(error.__cause__, _RETRIED):
                raise
            time.sleep(0.01 * 2**attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def service_role() -> str:
    """The name of the role that the service connects as."""
    return str(connections["default"].settings_dict["USER"])


def grant_service_role(using: str) -> None:
    """
    Give the service's role what the apps declare, and take away anything else, on the connection ``using``.

    Safe to repeat. Where the service connects as the owner itself (a plain development database), there is nothing to
    grant.
    """
    connection = connections[using]
    role = service_role()
    if role == connection.settings_dict["USER"]:
        return
    with transaction.atomic(using=using), connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
        if cursor.fetchone() is None:
            raise DatabaseError(f"the role {role!r} of DATABASE_URL does not exist in this database cluster")
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        existing = {name for (name,) in cursor.fetchall()}
        for statement in _grants(role, existing):
            cursor.execute(statement.as_string(cursor.connection))


def _grants(role: str, existing: set[str]) -> Iterator[sql.Composed]:
    grantee = sql.Identifier(role)
    yield sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(grantee)
    yield sql.SQL("GRANT SELECT ON django_migrations TO {}").format(grantee)
    for config in apps.get_app_configs():
        declared = _declared_privileges(config)
        tables = {model._meta.db_table for model in config.get_models(include_auto_created=True)}  # noqa: SLF001
        for table in sorted((tables | set(declared)) & existing):
            privileges = declared.get(table, ALL_PRIVILEGES)
            # Table by table: others may stand in this schema, and are not ours to touch.
            yield sql.SQL("REVOKE ALL ON TABLE {} FROM {}").format(sql.Identifier(table), grantee)
            yield sql.SQL("GRANT {} ON TABLE {} TO {}").format(
                sql.SQL(privileges),
                sql.Identifier(table),
                grantee,
            )
        for signature in getattr(config, "service_functions", ()):
            # A migration in part (``migrate ledger zero``) leaves functions out; a test sees that whole ones have them.
            yield sql.SQL(
                "DO $$ BEGIN IF to_regprocedure({}) IS NOT NULL THEN"
                " GRANT EXECUTE ON FUNCTION {} TO {}; END IF; END $$",
            ).format(sql.Literal(signature), sql.SQL(signature), grantee)


def _declared_privileges(config: AppConfig) -> dict[str, str]:
    return dict(getattr(config, "service_privileges", {}))


def owner_alias() -> str:
    """The alias that ``migrate`` uses."""
    return "owner" if "owner" in settings.DATABASES else "default"
