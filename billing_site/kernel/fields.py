"""Model fields with the shapes of the API: prefixed ids, callers' own codes, currencies."""

from functools import partial
from typing import Any, Final

from django.core.validators import RegexValidator
from django.db import models

from billing_site.kernel import ids

CODE_PATTERN: Final = r"[A-Za-z0-9._:-]{1,64}"


class PrefixedIdField(models.CharField[str, str]):
    """A primary key such as ``inv_01k9...``: prefixed, sortable by creation."""

    def __init__(self, *args: Any, prefix: str = "", **options: Any) -> None:
        self.prefix = prefix
        options.setdefault("primary_key", True)
        options.setdefault("max_length", 40)
        options.setdefault("editable", False)
        options["default"] = partial(ids.new_id, prefix)
        super().__init__(*args, **options)

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        """The prefix alone tells the default."""
        name, path, args, options = super().deconstruct()
        del options["default"]
        return name, path, args, {**options, "prefix": self.prefix}


class CodeField(models.CharField[str, str]):
    """The caller's own code for a thing: 1 to 64 of letters, digits and ``._:-``."""

    default_validators = [RegexValidator(rf"^{CODE_PATTERN}\Z", "1 to 64 of letters, digits and ._:-")]

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("max_length", 64)
        super().__init__(*args, **options)


class CurrencyField(models.CharField[str, str]):
    """An ISO 4217 code in upper case."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("max_length", 3)
        super().__init__(*args, **options)
