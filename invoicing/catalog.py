"""The catalogue: plans in immutable versions, with the prices of each."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Exists, OuterRef, QuerySet

from billing_site.kernel import errors as kernel_errors
from billing_site.kernel.errors import FieldError
from invoicing import errors, models
from invoicing.models.catalog import BillingAnchor, FeeTiming
from invoicing.pricing import definitions, reading

MAXIMUM_PRICES: Final = 100

# A meter's code, or an event type, which has a meter of its own name without being made.
_METER: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}")


@dataclass(frozen=True, kw_only=True)
class PlanTerms:
    """What a version of a plan says; ``prices`` as the API writes them, unread."""

    name: str
    currency: str
    interval: str
    billing_anchor: str = BillingAnchor.START
    grace_hours: int | None = None
    base_fee_cents: int = 0
    base_fee_timing: str = FeeTiming.IN_ADVANCE
    trial_days: int = 0
    minimum_commitment_cents: int = 0
    prices: Sequence[object] = ()


def create_plan(*, code: str, terms: PlanTerms, now: datetime) -> models.PlanVersion:
    """
    Make a plan; its first version.

    Idempotency: the same code with the same terms answers the first version. Requires an open transaction.

    Raises:
        Invalid: a price makes no sense; each fault with its pointer.
        PlanExists: the code is taken by a plan that says something else.
    """
    prices = _read_prices(terms.prices)
    plan, created = models.Plan.objects.get_or_create(code=code, defaults={"created_at": now})
    if created:
        return _store_version(plan, version=1, terms=terms, prices=prices, now=now)
    first = plan.versions.get(version=1)
    if not _says(first, terms, prices):
        raise errors.PlanExists(
            f"the plan {code!r} exists and says something else; POST /v1/plans/{code}/versions makes its next version"
        )
    return first


def create_plan_version(*, code: str, terms: PlanTerms, now: datetime) -> models.PlanVersion:
    """
    Make the next version of a plan. Subscriptions stay on theirs.

    Locks: the plan. Requires an open transaction.

    Raises:
        Invalid: a price makes no sense; each fault with its pointer.
        PlanNotFound: there is no such plan.
        CurrencyMismatch: the plan is in another currency.
    """
    prices = _read_prices(terms.prices)
    plan = models.Plan.objects.select_for_update(no_key=True).filter(pk=code).first()
    if plan is None:
        raise errors.PlanNotFound(f"no plan {code!r}")
    latest = get_latest_version(code)
    if terms.currency != latest.currency:
        fault = FieldError("/currency", "currency_mismatch", f"the plan is in {latest.currency}, not {terms.currency}")
        raise errors.CurrencyMismatch(fault.detail, errors=[fault])
    return _store_version(plan, version=latest.version + 1, terms=terms, prices=prices, now=now)


def get_latest_version(code: str) -> models.PlanVersion:
    """The version that new subscriptions are put on; raises ``PlanNotFound`` where there is no such plan."""
    latest = models.PlanVersion.objects.filter(plan_id=code).order_by("-version").first()
    if latest is None:
        raise errors.PlanNotFound(f"no plan {code!r}")
    return latest


def list_latest_versions() -> QuerySet[models.PlanVersion]:
    """The latest version of each plan with its prices, newest first."""
    later = models.PlanVersion.objects.filter(plan_id=OuterRef("plan_id"), version__gt=OuterRef("version"))
    return models.PlanVersion.objects.filter(~Exists(later)).prefetch_related("prices").order_by("-id")


def _read_prices(documents: Sequence[object]) -> list[tuple[str, definitions.Price]]:
    """Read all prices, and tell the faults of all."""
    faults: list[FieldError] = []
    read = []
    for position, document in enumerate(documents):
        try:
            read.append(_read_price(document, f"/prices/{position}"))
        except reading.PriceRefused as refused:
            faults.extend(refused.errors)
    if len(documents) > MAXIMUM_PRICES:
        faults.append(FieldError("/prices", "out_of_range", f"may have at most {MAXIMUM_PRICES} entries"))
    if faults:
        raise refusal(faults)
    return read


def _read_price(document: object, pointer: str) -> tuple[str, definitions.Price]:
    if not isinstance(document, Mapping):
        raise reading.PriceRefused([FieldError(pointer, "wrong_type", "must be an object")])
    faults = []
    meter = document.get("meter")
    if "meter" not in document:
        faults.append(FieldError(f"{pointer}/meter", "required", "is required"))
    elif not isinstance(meter, str):
        faults.append(FieldError(f"{pointer}/meter", "wrong_type", "must be a string"))
    elif not _METER.fullmatch(meter):
        faults.append(FieldError(f"{pointer}/meter", "invalid_code", "must be 1 to 100 of letters, digits and ._:-"))
    try:
        price = definitions.parse({k: v for k, v in document.items() if k != "meter"}, pointer=pointer)
    except reading.PriceRefused as refused:
        raise reading.PriceRefused([*faults, *refused.errors]) from refused
    if faults:
        raise reading.PriceRefused(faults)
    return str(meter), price


def refusal(faults: Sequence[FieldError]) -> kernel_errors.Invalid:
    """A 400 that tells every fault of a price."""
    return kernel_errors.Invalid(f"{faults[0].pointer}: {faults[0].detail}", errors=faults)


def _store_version(
    plan: models.Plan,
    *,
    version: int,
    terms: PlanTerms,
    prices: Sequence[tuple[str, definitions.Price]],
    now: datetime,
) -> models.PlanVersion:
    stored = models.PlanVersion.objects.create(
        plan=plan, version=version, price_count=len(prices), created_at=now, **_version_fields(terms)
    )
    models.Price.objects.bulk_create(
        models.Price(plan_version=stored, position=position, **_price_fields(meter, price))
        for position, (meter, price) in enumerate(prices)
    )
    return stored


def _says(version: models.PlanVersion, terms: PlanTerms, prices: Sequence[tuple[str, definitions.Price]]) -> bool:
    """Whether a stored version says exactly these terms."""
    same_terms = all(getattr(version, name) == value for name, value in _version_fields(terms).items())
    stored = list(version.prices.order_by("position").values("meter", "model", "definition"))
    return same_terms and stored == [_price_fields(meter, price) for meter, price in prices]


def _version_fields(terms: PlanTerms) -> dict[str, Any]:
    return {name: value for name, value in vars(terms).items() if name != "prices"}


def _price_fields(meter: str, price: definitions.Price) -> dict[str, Any]:
    definition = definitions.as_json(price)
    model = definition.pop("model")
    return {"meter": meter, "model": model, "definition": definition}
