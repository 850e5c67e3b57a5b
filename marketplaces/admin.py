"""The admin's screens of marketplaces."""

from django.contrib import admin

from billing_site.kernel.admin import ReadOnlyModelAdmin
from marketplaces import models


@admin.register(models.ChannelCustomer)
class ChannelCustomerAdmin(ReadOnlyModelAdmin):
    """Tenants as their channels call them."""

    list_display = ("tenant", "channel", "status", "external_id", "onboarded_at")
    list_filter = ("channel", "status", "onboarded_at")
    search_fields = ("id", "tenant__id", "external_id")
    list_select_related = ("tenant",)
