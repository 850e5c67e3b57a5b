"""The OpenAPI document tells of the event intake, though no serializer stands behind it."""

from typing import Any

from django.test import Client

from metering import schemas


def document() -> dict[str, Any]:
    found: dict[str, Any] = Client().get("/v1/schema").json()
    return found


class TestAddIngest:
    def test_describes_the_intake_and_its_answers(self) -> None:
        paths = document()["paths"]["/v1/events"]
        assert set(paths) == {"get", "post"}
        assert {"200", "400", "401", "403", "413", "415"} <= set(paths["post"]["responses"])

    def test_describes_every_field_of_an_event(self) -> None:
        components = document()["components"]["schemas"]
        assert set(components["EventIn"]["properties"]) == set(schemas.EventIn.__struct_fields__)
        assert components["EventIn"]["additionalProperties"] is False
        assert components["EventBatch"]["properties"]["events"]["maxItems"] == 10_000
        assert set(components["IngestReport"]["required"]) == {"accepted", "duplicates", "rejected", "errors"}

    def test_leads_to_schemas_that_exist(self) -> None:
        whole = document()
        text = str(whole["paths"]["/v1/events"]) + str(whole["components"]["schemas"])
        for name in ("EventIn", "EventBatch", "IngestReport", "Verdict", "Problem"):
            assert f"#/components/schemas/{name}" in text
            assert name in whole["components"]["schemas"]
