"""The OpenAPI document: our authentication, problems as the answer to anything refused."""

from typing import Any, ClassVar

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
    }

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

    def get_response_serializers(self) -> Any:
        """The view's own answers and the problems."""
        answers: Any = super().get_response_serializers()
        if not isinstance(answers, dict):
            answers = {"201" if self.method == "POST" else "200": answers}
        refusals = dict(self.refusals)
        if self.method == "POST":
            refusals |= {"409": "the state of things does not allow it now", "422": "it contradicts what is stored"}
        problem = {
            (status, problems.CONTENT_TYPE): OpenApiResponse(serializers.ProblemSerializer, description=description)
            for status, description in refusals.items()
        }
        return {**problem, **answers}
