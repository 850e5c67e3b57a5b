"""Closed periods and their snapshots."""

from django.db import models
from django.db.models import F, Q

from billing_site.kernel import ids
from ledger.models.accounts import Account, Book


class Period(models.Model):
    """
    One closing of a period of a book: ``starts_at`` <= effective_at < ``ends_at``.

    Reopening marks the row; closing again writes another, the next revision. What is closed never has a gap, so a book
    is closed up to the end of its last closed period.
    """

    id = models.BigAutoField(primary_key=True)
    book = models.ForeignKey(Book, on_delete=models.PROTECT, db_index=False)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    revision = models.PositiveIntegerField()
    state = models.CharField(max_length=8, choices=[("closed", "closed"), ("reopened", "reopened")])
    closed_at = models.DateTimeField()
    closed_by = models.CharField(max_length=255)
    close_reason = models.CharField(max_length=2000)
    reopened_at = models.DateTimeField(null=True, blank=True)
    reopened_by = models.CharField(max_length=255, blank=True, default="")
    reopen_reason = models.CharField(max_length=2000, blank=True, default="")

    class Meta:
        db_table = "ledger_period"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["book", "starts_at", "revision"], name="ledger_period_revised_in_order"),
            models.UniqueConstraint(
                fields=["book", "ends_at"],
                name="ledger_period_closed_once",
                condition=Q(state="closed"),
            ),
            models.CheckConstraint(name="ledger_period_ends_after_it_starts", condition=Q(ends_at__gt=F("starts_at"))),
            models.CheckConstraint(
                name="ledger_period_is_over_when_closed",
                condition=Q(closed_at__gte=F("ends_at")),
            ),
            models.CheckConstraint(
                name="ledger_period_says_who_closed_it_and_why",
                condition=~Q(closed_by="") & ~Q(close_reason=""),
            ),
            models.CheckConstraint(
                name="ledger_period_says_who_reopened_it_and_why",
                condition=Q(state="closed", reopened_at__isnull=True, reopened_by="", reopen_reason="")
                | (Q(state="reopened", reopened_at__isnull=False) & ~Q(reopened_by="") & ~Q(reopen_reason="")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.book_id} {self.starts_at:%Y-%m-%d} to {self.ends_at:%Y-%m-%d}, revision {self.revision}"

    @property
    def public_id(self) -> str:
        """The id that the API shows."""
        return ids.encode_serial("per", self.pk)


class PeriodBalance(models.Model):
    """What an account held at the end of a closed period; accounts that held nothing have no row. Never changes."""

    id = models.BigAutoField(primary_key=True)
    period = models.ForeignKey(Period, on_delete=models.PROTECT, related_name="balances", db_index=False)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+", db_index=False)
    balance_cents = models.BigIntegerField()

    class Meta:
        db_table = "ledger_period_balance"
        ordering = ["period", "account"]
        constraints = [
            models.UniqueConstraint(fields=["period", "account"], name="ledger_snapshot_holds_an_account_once"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id}: {self.balance_cents}"
