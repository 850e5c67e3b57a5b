"""Factories of marketplaces' rows."""

from datetime import UTC, datetime

import factory

from marketplaces import models
from marketplaces.models import CustomerStatus
from tests.factories.invoicing import TenantFactory

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


class ChannelCustomerFactory(factory.django.DjangoModelFactory[models.ChannelCustomer]):
    """A tenant that Stripe knows; only in our books, not in any stand-in's."""

    class Meta:
        model = models.ChannelCustomer

    tenant = factory.SubFactory(TenantFactory, billing_channel="stripe")
    channel = factory.SelfAttribute("tenant.billing_channel")
    status = CustomerStatus.ACTIVE
    external_id = factory.Sequence(lambda n: f"cus_{n:014d}")
    registration = factory.LazyFunction(dict)
    created_at = NOVEMBER
    onboarded_at = NOVEMBER
