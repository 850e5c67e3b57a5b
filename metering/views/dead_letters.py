"""Events that were not taken: to look at, to replay, to discard."""

import json
from typing import Any, ClassVar

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import access, api, clock, idempotency, keys
from metering import dead_letters, models, replays, schemas
from metering import errors as metering_errors
from metering.serializers import dead_letters as serializers


class DeadLetterFilter(django_filters.FilterSet):
    """Which dead letters."""

    tenant_id = api.CodeFilter()
    code = django_filters.CharFilter(max_length=64)
    event_type = django_filters.CharFilter(max_length=100)
    source = django_filters.CharFilter(max_length=schemas.MAX_SOURCE_LENGTH)
    state = django_filters.ChoiceFilter(choices=models.DeadLetterState.choices)
    first_seen_at_gte = api.InstantFilter(field_name="first_seen_at", lookup_expr="gte")
    first_seen_at_lt = api.InstantFilter(field_name="first_seen_at", lookup_expr="lt")
    last_seen_at_gte = api.InstantFilter(field_name="last_seen_at", lookup_expr="gte")
    last_seen_at_lt = api.InstantFilter(field_name="last_seen_at", lookup_expr="lt")

    class Meta:
        model = models.DeadLetter
        fields: ClassVar[list[str]] = []


class DeadLetterListEndpoint(api.ListEndpoint):
    """``GET /v1/dead-letters``."""

    scopes = {"GET": "usage:read"}
    queryset = models.DeadLetter.objects.all()
    serializer_class = serializers.DeadLetterSerializer
    filterset_class = DeadLetterFilter

    @extend_schema(summary="List events that were not taken", responses=serializers.DeadLetterSerializer(many=True))
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page, newest first."""
        return super().get(request, *args, **kwargs)


class DeadLetterEndpoint(api.Endpoint):
    """``GET /v1/dead-letters/{id}``."""

    scopes = {"GET": "usage:read"}

    @extend_schema(
        summary="Get an event that was not taken, and what was done about it",
        responses=serializers.DeadLetterDetailSerializer,
    )
    def get(self, request: Request, letter_id: str) -> Response:
        """One dead letter with its payload and its trail."""
        self.query()
        letter = self.restrict(models.DeadLetter.objects.filter(pk=letter_id)).first()
        if letter is None:
            raise metering_errors.DeadLetterNotFound(f"no dead letter {letter_id!r}")
        return Response(serializers.DeadLetterDetailSerializer(letter).data)


class DeadLetterReplayEndpoint(api.Endpoint):
    """``POST /v1/dead-letters/{id}/replay``."""

    scopes = {"POST": "events:write"}

    @extend_schema(
        summary="Take a dead letter's event in, as it was sent or corrected",
        description="The event is held to the rules of `POST /v1/events`. Answers the letter either way: `replayed` "
        "when the event is stored, now or before, and else still `open` with the new `code` and `detail`. An event "
        "that was sent without a time happened when it first arrived. `backfill` needs the scope `events:backfill`. A "
        "letter that is no longer open is a 409 with its state.",
        request=serializers.ReplayRequest,
        responses=serializers.DeadLetterDetailSerializer,
    )
    @idempotency.idempotent
    def post(self, request: Request, letter_id: str) -> Response:
        """One letter."""
        body = self.body(serializers.ReplayRequest)
        if body["backfill"]:
            keys.require_scope(access.key_of(request), "events:backfill")
        letter = replays.replay(
            letter_id=letter_id,
            actor=str(access.key_of(request).pk),
            now=clock.now(),
            # The event as it was sent, in the caller's order: the serializer took it as it is.
            event=json.dumps(body["event"]).encode() if "event" in body else None,
            allow_backfill=body["backfill"],
            only_tenant_id=self.bound_tenant_id(),
        )
        return Response(serializers.DeadLetterDetailSerializer(letter).data)


class DeadLetterDiscardEndpoint(api.Endpoint):
    """``POST /v1/dead-letters/{id}/discard``."""

    scopes = {"POST": "events:write"}

    @extend_schema(
        summary="Give an event up, with the reason",
        description="A letter that is no longer open is a 409 with its state. The same payload sent again opens it "
        "again.",
        request=serializers.DiscardRequest,
        responses=serializers.DeadLetterDetailSerializer,
    )
    @idempotency.idempotent
    def post(self, request: Request, letter_id: str) -> Response:
        """One letter."""
        body = self.body(serializers.DiscardRequest)
        letter = dead_letters.discard(
            letter_id=letter_id,
            reason=body["reason"],
            actor=str(access.key_of(request).pk),
            now=clock.now(),
            only_tenant_id=self.bound_tenant_id(),
        )
        return Response(serializers.DeadLetterDetailSerializer(letter).data)
