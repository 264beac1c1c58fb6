"""docker-compose.yml against the compose specification, and against the services' needs of each other."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from readalong.core.settings import Settings

ROOT = Path(__file__).parents[1]
MODEL_VARIABLES = {
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "AZURE_OPENAI_ENDPOINT",
    "AZURE_OPENAI_API_KEY",
    "AZURE_OPENAI_AD_TOKEN",
    "OPENAI_API_VERSION",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """The official schema, from the check-jsonschema package."""
    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    return Draft202012Validator(json.loads(vendored.read_text("utf-8")))


def environment(service: dict[str, Any]) -> dict[str, str | None]:
    """Returns a service's variables; None is one that the caller's environment sets."""
    found: dict[str, str | None] = service.get("environment", {})
    return found


def seconds(text: str) -> float:
    found = re.fullmatch(r"(?:\$\{\w+:-)?(\d+)(s|m)\}?", text)
    assert found is not None, text
    return int(found[1]) * {"s": 1, "m": 60}[found[2]]


def test_the_compose_file_fits_the_schema(compose: dict[str, Any], schema: Draft202012Validator) -> None:
    """No misspelt key, no wrong type."""
    assert [f"{error.json_path}: {error.message}" for error in schema.iter_errors(compose)] == []


def test_the_schema_does_refuse_a_misspelt_key(compose: dict[str, Any], schema: Draft202012Validator) -> None:
    """Shows that the test above can fail."""
    services = compose["services"]
    broken = {**compose, "services": {**services, "api": {**services["api"], "helthcheck": {}}}}
    assert not schema.is_valid(broken)


def test_redis_keeps_its_log_and_refuses_rather_than_evicts(compose: dict[str, Any]) -> None:
    """An evicted key would be a hole in a job's log."""
    words = compose["services"]["redis"]["command"]
    assert "--appendonly yes" in words
    assert "--appendfsync everysec" in words
    assert "--maxmemory-policy noeviction" in words


@pytest.mark.parametrize("name", ["api", "worker"])
def test_api_and_worker_wait_for_redis_and_find_it(compose: dict[str, Any], name: str) -> None:
    """Both use the one Redis of this file, once it answers."""
    service = compose["services"][name]
    assert service["depends_on"]["redis"]["condition"] == "service_healthy"
    assert environment(service)["READALONG_REDIS_URL"] == "redis://redis:6379/0"


def test_the_models_variables_are_passed_on_to_workers_alone(compose: dict[str, Any]) -> None:
    """By name only: an unset variable stays unset and does not become empty. No other service gets the key."""
    passed = {name: environment(service) for name, service in compose["services"].items()}
    assert {variable for variable, value in passed["worker"].items() if value is None} >= MODEL_VARIABLES
    told = {name for name, variables in passed.items() if any(re.match("OPENAI_|AZURE_", one) for one in variables)}
    assert told == {"worker"}
    assert all("env_file" not in service for service in compose["services"].values())


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("api", {"READALONG_REDIS_URL", "READALONG_SENTINELS", "READALONG_PROVIDERS", "READALONG_CREDENTIALS"}),
        ("worker", {"READALONG_REDIS_URL", "READALONG_SENTINELS"}),
    ],
)
def test_every_setting_is_passed_on_by_its_name(compose: dict[str, Any], name: str, others: set[str]) -> None:
    """But for those of the one Redis of this file, and of what only a worker runs."""
    settings = {f"READALONG_{field.upper()}" for field in Settings.model_fields}
    hosts = {"READALONG_HOSTS"}
    passed = {variable for variable, value in environment(compose["services"][name]).items() if value is None}
    assert {each for each in passed if each.startswith("READALONG_")} == settings - others - hosts
    assert settings >= others | hosts


@pytest.mark.parametrize("given", ["", "chat.example"])
def test_the_api_answers_to_its_neighbours_name_for_it(compose: dict[str, Any], given: str) -> None:
    """It also answers to the names that the operator adds."""
    hosts = environment(compose["services"]["api"])["READALONG_HOSTS"]
    assert hosts is not None
    assert Settings(hosts=hosts.replace("${READALONG_HOSTS:-}", given)).allowed_hosts == {"api", given} - {""}


def test_all_of_our_services_run_one_image(compose: dict[str, Any]) -> None:
    """API and worker of two versions would be an untested mix."""
    services = compose["services"]
    assert len({services[name]["image"] for name in ("api", "worker", "model")}) == 1


def test_the_api_is_published_on_this_machine_only(compose: dict[str, Any]) -> None:
    """It has no authentication; Redis and the model are not published at all."""
    services = compose["services"]
    assert services["api"]["ports"] == ["127.0.0.1:8000:8000"]
    assert [name for name, service in services.items() if "ports" in service] == ["api"]


def test_a_stopping_worker_has_the_time_to_drain(compose: dict[str, Any]) -> None:
    """Docker's SIGKILL comes well after the worker has requeued its streams."""
    drain = float(Settings.model_fields["drain_timeout"].default)
    assert seconds(compose["services"]["worker"]["stop_grace_period"]) >= drain + 10


def test_the_demo_model_starts_in_its_profile_only(compose: dict[str, Any]) -> None:
    """A user with a real model does not run the demo model."""
    assert compose["services"]["model"]["profiles"] == ["demo"]
