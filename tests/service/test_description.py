"""/openapi.json and /metrics. The client of all these tests compares every answer with /openapi.json."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families

from pgretrieval.serve.endpoints import ENDPOINTS
from tests.support.serving import DESCRIBED, Serving


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        found = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return found + [each for value in node.values() for each in references(value)]
    return [each for value in node for each in references(value)] if isinstance(node, list) else []


def test_it_is_served_as_it_is_declared(module_service: Serving):
    assert module_service.client.get("/openapi.json").json() == DESCRIBED


def test_every_endpoint_is_described():
    """Each has an id, its parameters, its answer and the statuses of its errors."""
    listed = {(method.upper(), path) for path, methods in DESCRIBED["paths"].items() for method in methods}
    assert listed == {(each.method, each.path) for each in ENDPOINTS}
    operations = [operation for methods in DESCRIBED["paths"].values() for operation in methods.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"].endswith(".")
        assert set(operation["responses"]) == {"200", "400", "401", "404", "409", "413", "429", "503"}
    for path, methods in DESCRIBED["paths"].items():
        for operation in methods.values():
            named = [each["name"] for each in operation.get("parameters", []) if each["in"] == "path"]
            assert named == (["name"] if "{name}" in path else [])
    for each in ENDPOINTS:
        operation = DESCRIBED["paths"][each.path][each.method.lower()]
        assert ("requestBody" in operation) == (each.request is not None and each.method != "GET")
    [ids] = [each for each in DESCRIBED["paths"]["/v1/collections/{name}/passages"]["get"]["parameters"] if each["in"] == "query"]
    assert (ids["name"], ids["required"]) == ("id", True)


def test_schemas_are_valid_and_found():
    """Schemas are JSON Schema 2020-12, as OpenAPI 3.1 has them, and every reference leads somewhere."""
    assert DESCRIBED["openapi"].startswith("3.1")
    assert DESCRIBED["security"] == [{}, {"token": []}]
    assert DESCRIBED["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    for schema in DESCRIBED["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in references(DESCRIBED):
        node: Any = DESCRIBED
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def measured(service: Serving) -> tuple[dict[str, Any], dict[tuple[str, ...], float], str]:
    """Metrics by name, their values by name and labels, and the text."""
    text = service.client.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {(sample.name, *sample.labels.values()): sample.value for family in families.values() for sample in family.samples}
    return families, samples, text


def test_headers_of_answers(module_service: Serving):
    """Nobody stores an answer or guesses its type; texts are UTF-8; nothing names the server's software."""
    for path in ("/v1/collections", "/v1/nothing", "/healthz"):
        answer = module_service.client.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
    assert "a/b ü".encode() in module_service.client.get("/v1/collections").content


def test_metrics(module_service: Serving):
    """Searches, stages, queue, pool and calls of the model are counted; labels name neither collections nor queries."""
    _, before, _ = measured(module_service)
    answer = module_service.search("dense", query="a river of secrets", mode="late")
    module_service.search("nothing", query="a")
    families, samples, text = measured(module_service)
    path = "/v1/collections/{name}/search"

    def more(*sample: str) -> float:
        return samples[sample] - before.get(sample, 0.0)

    assert more("pgretrieval_searches_total", "late") == 1
    assert more("pgretrieval_stage_seconds_count", "encode") == 1
    assert 0 < more("pgretrieval_stage_seconds_sum", "encode") < answer.elapsed.total_seconds()
    assert [more("pgretrieval_requests_total", "POST", path, status) for status in ("200", "404")] == [1, 1]
    assert more("pgretrieval_request_seconds_count", path) == 2
    assert 0 < more("pgretrieval_request_seconds_sum", path) < 60
    assert samples["pgretrieval_requests_waiting",] == samples["pgretrieval_requests_running",] == 0
    assert samples["pgretrieval_connections_in_use",] == 0
    assert samples["pgretrieval_model_texts_count",] >= 1
    assert families["pgretrieval_model_texts"].type == families["pgretrieval_stage_seconds"].type == "histogram"
    assert "process_resident_memory_bytes" in families
    assert not any(word in text for word in ("secrets", "nothing", "dense"))
