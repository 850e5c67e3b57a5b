"""What the demo shows on the terminal: its progress on stderr, what came out on stdout."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table


class Screen:
    """The terminal; plain lines where it is none."""

    def __init__(self) -> None:
        self._progress = Console(stderr=True, highlight=False)
        self._result = Console(highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say what is being done, and that it is done."""
        with self._progress.status(text):
            yield
        self._done(text)

    @contextmanager
    def progress(self, text: str, *, total: int) -> Iterator[Callable[[], None]]:
        """Show how far a step of many parts is; call what is handed out after each part."""
        with Progress(console=self._progress, transient=True, disable=not self._progress.is_terminal) as bar:
            task = bar.add_task(text, total=total)
            yield lambda: bar.advance(task)
        self._done(text)

    def failure(self, text: str) -> None:
        """Say why it did not work."""
        self._progress.print(f"[red]✗[/red] {text}", markup=True)

    def outcome(self, outcome: Mapping[str, object], *, logins: Sequence[Mapping[str, str]], facts: Path) -> None:
        """The table, and where to go next."""
        show = self._result.print
        show()
        show(_table(outcome["invoices"]))  # type: ignore[arg-type]  # rows, by the story
        show(f"events      {outcome['events_accepted']:,} stored, {outcome['events_duplicates']:,} were there before")
        show(f"requests    {outcome['requests_sent']:,} gateway records")
        show(f"refused     {outcome['events_refused']} events, kept as dead letters")
        show(f"payments    {outcome['payments']}, collected through Stripe's protocol")
        show(f"ledger      {_balance(outcome['ledger_totals'])}")  # type: ignore[arg-type]  # rows, by the story
        show(_next(str(outcome["base_url"]), str(outcome["api_key"]), logins, facts), markup=False)

    def _done(self, text: str) -> None:
        self._progress.print(f"[green]✓[/green] {text}")


def _table(invoices: Sequence[Mapping[str, object]]) -> Table:
    table = Table(title="Invoices", title_justify="left")
    for name in ("tenant", "period", "number", "status"):
        table.add_column(name)
    for name in ("total", "paid"):
        table.add_column(name, justify="right")
    for row in invoices:
        table.add_row(
            str(row["tenant_id"]),
            str(row["period_start"])[:7],
            str(row["number"] or "-"),
            str(row["status"]),
            _dollars(row["total_cents"]),
            _dollars(row["amount_paid_cents"]),
        )
    return table


def _balance(totals: Sequence[Mapping[str, object]]) -> str:
    (total,) = totals
    debit, credit = _dollars(total["debit_cents"]), _dollars(total["credit_cents"])
    return f"debits {debit}, credits {credit}" + ("" if debit == credit else ": NOT IN BALANCE")


def _dollars(cents: object) -> str:
    whole, part = divmod(int(str(cents)), 100)
    return f"{whole:,}.{part:02d} USD"


def _next(base_url: str, key: str, logins: Sequence[Mapping[str, str]], facts: Path) -> str:
    people = "\n".join(f"              {login['username']:8} {login['password']}" for login in logins)
    event = (
        '{"tenant_id": "acme-corp", "event_type": "api_call", "quantity": 5000, "idempotency_key": "\'$(date +%s)\'"}'
    )
    curl = f"curl -s -H 'Authorization: Bearer {key}'"
    send = f"{curl} -H 'Content-Type: application/json' -d '{event}' {base_url}/v1/events"
    look = f"{curl} '{base_url}/v1/usage?tenant_id=acme-corp&event_type=api_call"
    return f"""
admin         {base_url}/admin/
{people}
API docs      {base_url}/docs
API key       {key}
for scripts   {facts}

Try next (send usage, and see it in this month's total within seconds):

{send}; sleep 4; {look}&granularity=month&from='$(date -u +%Y-%m-01T00:00:00Z)'&to='$(date -u +%Y-%m-%dT23:59:59Z)
"""
