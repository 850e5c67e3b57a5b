"""The tables of payments."""

from django.db import models
from django.db.models import F, Q

from billing_site.kernel import fields
from billing_site.kernel.models import DueRow
from invoicing.models import Invoice, Tenant


class MethodStatus(models.TextChoices):
    """Whether a payment method may be charged."""

    PENDING = "pending", "Pending"
    ACTIVE = "active", "Active"
    REFUSED = "refused", "Refused"


class PaymentMethod(models.Model):
    """
    A way to charge a tenant while its owner is away; the processor keeps the card, we keep its name.

    The row is committed before the processor is asked to save it, with the request that asked, so that the same request
    answers from it.
    """

    id = fields.PrefixedIdField(prefix="pmt")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="payment_methods")
    channel = models.CharField(max_length=20)
    status = models.CharField(max_length=10, choices=MethodStatus.choices, default=MethodStatus.PENDING)
    offered_id = models.CharField(max_length=255)
    external_id = models.CharField(max_length=255, blank=True, default="")
    kind = models.CharField(max_length=32, blank=True, default="")
    brand = models.CharField(max_length=32, blank=True, default="")
    last4 = models.CharField(max_length=4, blank=True, default="")
    expires_month = models.PositiveSmallIntegerField(null=True, blank=True)
    expires_year = models.PositiveSmallIntegerField(null=True, blank=True)
    is_default = models.BooleanField(default=False)
    wanted_as_default = models.BooleanField(default=False)
    failure_code = models.CharField(max_length=64, blank=True, default="")
    decline_code = models.CharField(max_length=64, blank=True, default="")
    message = models.CharField(max_length=500, blank=True, default="")
    request_key = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField()
    saved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "payments_payment_method"
        ordering = ["-id"]
        indexes = [models.Index(fields=["tenant", "-id"], name="payments_method_of_tenant")]
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "external_id"],
                name="payments_method_is_one_tenants",
                condition=~Q(external_id=""),
            ),
            models.UniqueConstraint(
                fields=["tenant"],
                name="payments_tenant_has_one_default_method",
                condition=Q(is_default=True),
            ),
            models.UniqueConstraint(
                fields=["request_key"],
                name="payments_method_request_made_once",
                condition=~Q(request_key=""),
            ),
            models.CheckConstraint(
                name="payments_method_is_saved_when_active",
                condition=~Q(status=MethodStatus.ACTIVE) | (~Q(external_id="") & Q(saved_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="payments_default_method_is_active",
                condition=Q(is_default=False) | Q(status=MethodStatus.ACTIVE),
            ),
            models.CheckConstraint(
                name="payments_method_status_is_known",
                condition=Q(status__in=MethodStatus.values),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.brand or self.kind or self.offered_id} {self.last4}".strip()


class CollectionStatus(models.TextChoices):
    """What the collecting of an invoice waits for."""

    DUE = "due", "Due"
    PROCESSING = "processing", "Processing"
    AWAITING_METHOD = "awaiting_method", "Awaiting a payment method"
    REQUIRES_ACTION = "requires_action", "Requires the customer's action"
    DECLINED = "declined", "Declined"
    SETTLED = "settled", "Settled"


class Collection(DueRow):
    """The collecting of one invoice: the due row of ``collect_payments``."""

    id = fields.PrefixedIdField(prefix="col")
    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, related_name="collection")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="collections")
    status = models.CharField(max_length=16, choices=CollectionStatus.choices, default=CollectionStatus.DUE)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "payments_collection"
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["next_attempt_at", "id"],
                name="payments_collection_due",
                condition=Q(next_attempt_at__isnull=False, quarantined_at=None),
            ),
            # What a new payment method wakes: the few that wait, not all that ever were.
            models.Index(
                fields=["tenant", "id"],
                name="payments_collection_unsettled",
                condition=~Q(status=CollectionStatus.SETTLED),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="payments_collection_status_is_known",
                condition=Q(status__in=CollectionStatus.values),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.invoice_id}: {self.status}"


class AttemptStatus(models.TextChoices):
    """How an attempt stands; ``pending`` until the processor's answer is known."""

    PENDING = "pending", "Pending"
    PROCESSING = "processing", "Processing"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    REQUIRES_ACTION = "requires_action", "Requires action"
    REFUNDED = "refunded", "Refunded"
    DISPUTED = "disputed", "Disputed"


IN_FLIGHT = (AttemptStatus.PENDING, AttemptStatus.PROCESSING)
# The money came, whatever became of it since.
CHARGED = (AttemptStatus.SUCCEEDED, AttemptStatus.REFUNDED, AttemptStatus.DISPUTED)


class PaymentAttempt(models.Model):
    """
    One try to charge an invoice, committed before the processor is called.

    It holds everything that the call says, frozen, so that repeating the call under ``idempotency_key`` says the same.
    """

    id = fields.PrefixedIdField(prefix="pat")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="payment_attempts")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="payment_attempts")
    number = models.PositiveIntegerField()
    channel = models.CharField(max_length=20)
    status = models.CharField(max_length=16, choices=AttemptStatus.choices, default=AttemptStatus.PENDING)
    idempotency_key = models.CharField(max_length=255)
    amount_cents = models.BigIntegerField()
    currency = fields.CurrencyField()
    payment_method = models.ForeignKey(PaymentMethod, on_delete=models.PROTECT, related_name="attempts")
    customer_external_id = models.CharField(max_length=255)
    method_external_id = models.CharField(max_length=255)
    description = models.CharField(max_length=500)
    external_id = models.CharField(max_length=255, blank=True, default="")
    failure_code = models.CharField(max_length=64, blank=True, default="")
    decline_code = models.CharField(max_length=64, blank=True, default="")
    message = models.CharField(max_length=500, blank=True, default="")
    is_retryable = models.BooleanField(default=False)
    request_key = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "payments_attempt"
        ordering = ["-id"]
        indexes = [models.Index(fields=["tenant", "-id"], name="payments_attempt_of_tenant")]
        constraints = [
            models.UniqueConstraint(fields=["invoice", "number"], name="payments_attempt_is_numbered_once"),
            models.UniqueConstraint(fields=["idempotency_key"], name="payments_attempt_key_is_used_once"),
            # While one may still have moved money, there is no second.
            models.UniqueConstraint(
                fields=["invoice"],
                name="payments_invoice_has_one_attempt_in_flight",
                condition=Q(status__in=IN_FLIGHT),
            ),
            models.UniqueConstraint(
                fields=["channel", "external_id"],
                name="payments_attempt_is_one_charge",
                condition=~Q(external_id=""),
            ),
            models.UniqueConstraint(
                fields=["request_key"],
                name="payments_attempt_request_made_once",
                condition=~Q(request_key=""),
            ),
            models.CheckConstraint(name="payments_attempt_amount_is_positive", condition=Q(amount_cents__gt=0)),
            models.CheckConstraint(name="payments_attempt_counts_from_one", condition=Q(number__gte=1)),
            models.CheckConstraint(
                name="payments_attempt_status_is_known",
                condition=Q(status__in=AttemptStatus.values),
            ),
            models.CheckConstraint(
                name="payments_attempt_is_resolved_when_it_ended",
                condition=Q(status__in=IN_FLIGHT, resolved_at=None)
                | (~Q(status__in=IN_FLIGHT) & Q(resolved_at__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return self.idempotency_key


class Payment(models.Model):
    """
    Money that came. ``external_id`` is the processor's charge; empty for a bank transfer.

    ``amount_cents`` is what was applied to invoices, credited to the tenant, and left unapplied, together. The service
    may insert and read here, nothing else.
    """

    id = fields.PrefixedIdField(prefix="pay")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="payments")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, null=True, blank=True, related_name="payments")
    attempt = models.OneToOneField(
        PaymentAttempt,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="payment",
    )
    channel = models.CharField(max_length=20)
    external_id = models.CharField(max_length=255, blank=True, default="")
    amount_cents = models.BigIntegerField()
    applied_cents = models.BigIntegerField()
    credited_cents = models.BigIntegerField()
    unapplied_cents = models.BigIntegerField()
    currency = fields.CurrencyField()
    reference = models.CharField(max_length=200, blank=True, default="")
    metadata = models.JSONField(default=dict, blank=True)
    received_at = models.DateTimeField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "payments_payment"
        ordering = ["-id"]
        indexes = [models.Index(fields=["tenant", "-id"], name="payments_payment_of_tenant")]
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "external_id"],
                name="payments_charge_is_one_payment",
                condition=~Q(external_id=""),
            ),
            models.CheckConstraint(name="payments_payment_amount_is_positive", condition=Q(amount_cents__gt=0)),
            models.CheckConstraint(
                name="payments_payment_has_a_home_to_the_cent",
                condition=Q(amount_cents=F("applied_cents") + F("credited_cents") + F("unapplied_cents"))
                & Q(applied_cents__gte=0, credited_cents__gte=0, unapplied_cents__gte=0),
            ),
        ]

    def __str__(self) -> str:
        return self.id


class Allocation(models.Model):
    """What of a payment settled an invoice."""

    id = models.BigAutoField(primary_key=True)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="allocations")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="allocations")
    amount_cents = models.BigIntegerField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "payments_allocation"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["payment", "invoice"], name="payments_payment_settles_an_invoice_once"),
            models.CheckConstraint(name="payments_allocation_amount_is_positive", condition=Q(amount_cents__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.payment_id} to {self.invoice_id}: {self.amount_cents}"


class MessageStatus(models.TextChoices):
    """What became of a message; a quarantined one shows by ``quarantined_at``."""

    RECEIVED = "received", "Received"
    PROCESSED = "processed", "Processed"
    IGNORED = "ignored", "Ignored"


class ProviderMessage(DueRow):
    """A message from a processor, exactly as it came over the wire; worked off later, once."""

    id = fields.PrefixedIdField(prefix="whm")
    provider = models.CharField(max_length=20)
    event_id = models.CharField(max_length=255)
    event_type = models.CharField(max_length=100)
    object_id = models.CharField(max_length=255, blank=True, default="")
    body = models.TextField()
    status = models.CharField(max_length=10, choices=MessageStatus.choices, default=MessageStatus.RECEIVED)
    ignored_reason = models.CharField(max_length=500, blank=True, default="")
    received_at = models.DateTimeField()
    processed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "payments_provider_message"
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["next_attempt_at", "id"],
                name="payments_message_due",
                condition=Q(next_attempt_at__isnull=False, quarantined_at=None),
            ),
            models.Index(fields=["object_id", "id"], name="payments_message_by_object"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["provider", "event_id"], name="payments_message_is_stored_once"),
            models.CheckConstraint(
                name="payments_message_status_is_known",
                condition=Q(status__in=MessageStatus.values),
            ),
            models.CheckConstraint(
                name="payments_ignored_message_has_a_reason",
                condition=~Q(status=MessageStatus.IGNORED) | ~Q(ignored_reason=""),
            ),
            models.CheckConstraint(
                name="payments_message_is_processed_when_done",
                condition=Q(status=MessageStatus.RECEIVED, processed_at=None)
                | (~Q(status=MessageStatus.RECEIVED) & Q(processed_at__isnull=False, next_attempt_at=None)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.object_id}"
