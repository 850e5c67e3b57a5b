"""The OpenAPI document: our authentication, problems as the answer to anything refused."""

from typing import Any, ClassVar, Literal

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from billing_site.kernel import problems, serializers


class BearerKey(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """``Authorization: Bearer bk_...``."""

    target_class = "billing_site.kernel.access.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        """HTTP bearer."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "bk_<env>_<random>"}


class Schema(AutoSchema):
    """Adds to each operation what every operation has: the problem answers, and the idempotency header on POST."""

    refusals: ClassVar[dict[str, str]] = {
        "400": "the request breaks a rule",
        "401": "no key, or none that we know",
        "403": "the key lacks the scope",
        "404": "no such thing",
        "503": "the database does not answer; the same request may be sent again",
    }

    def _is_list_view(self, serializer: Any = None) -> bool:
        """A GET that pages is a list, whatever its view is derived from."""
        paged = self.method == "GET" and getattr(self.view, "pagination_class", None) is not None
        return paged or bool(super()._is_list_view(serializer))

    def get_override_parameters(self) -> list[Any]:
        """``Idempotency-Key`` on every POST."""
        parameters = list(super().get_override_parameters())
        if self.method == "POST":
            parameters.append(
                OpenApiParameter(
                    "Idempotency-Key",
                    str,
                    OpenApiParameter.HEADER,
                    description="1 to 255 characters; the same request sent again answers as the first did",
                ),
            )
        return parameters

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> Any:
        """The view's own answers, and the problems."""
        bodies = super()._get_response_bodies(direction)
        refusals = dict(self.refusals)
        if self.method != "GET":
            refusals |= {"409": "the state of things does not allow it now", "422": "it contradicts what is stored"}
        for status, description in refusals.items():
            problem = OpenApiResponse(serializers.ProblemSerializer, description=description)
            if status not in bodies:
                bodies[status] = self._get_response_for_code(  # type: ignore[no-untyped-call]
                    problem, status, media_types=[problems.CONTENT_TYPE]
                )
        return dict(sorted(bodies.items()))


def add_probes(result: dict[str, Any], generator: Any, request: Any, public: Any) -> dict[str, Any]:
    """Post-processing hook of drf-spectacular: add the probes, which are plain views without a key."""
    for path, summary, unready in (
        ("/healthz", "The process is up", {}),
        (
            "/readyz",
            "Database and broker answer",
            {"503": {"description": "a part does not answer; the body names it"}},
        ),
    ):
        state = {"schema": {"type": "object", "additionalProperties": {"type": "string"}}}
        result["paths"][path] = {
            "get": {
                "operationId": path.strip("/"),
                "summary": summary,
                "tags": ["operations"],
                "security": [{}],
                "responses": {"200": {"description": "ok", "content": {"application/json": state}}, **unready},
            },
        }
    result["paths"]["/metrics"] = {"get": _scrape()}
    return result


def _scrape() -> dict[str, Any]:
    refused = {problems.CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "operationId": "metrics",
        "summary": "Figures for Prometheus, by METRICS_TOKEN or a key with the scope admin",
        "tags": ["operations"],
        "security": [{"apiKey": []}],
        "responses": {
            "200": {"description": "ok", "content": {"text/plain": {"schema": {"type": "string"}}}},
            "401": {"description": "no token, or none that we know", "content": refused},
            "403": {"description": "the key lacks the scope", "content": refused},
        },
    }
