"""A client can choose neither the address nor the key of a model call behind a gateway."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from readalong.api.submission.chat_request import check
from readalong.core.errors import InvalidRequest
from readalong.core.settings import Settings
from tests.api.serving import a_site, on_valkey, short_settings

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
FIELDS = [
    *("api_base", "base_url", "api_key", "api_version", "organization", "extra_headers", "extra_body", "extra_query"),
    *("custom_llm_provider", "user_config", "model_list", "fallbacks", "mock_response", "litellm_params"),
    *("vertex_credentials", "aws_sts_endpoint", "aws_role_name", "azure_ad_token", "sagemaker_base_url"),
    *("s3_endpoint_url", "langfuse_host", "kv_transfer_params", "API_Base", "api-base"),
]


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_a_gateway_may_obey_is_refused_by_its_name_unless_it_is_allowed(field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check({**BODY, field: "x"})
    assert (caught.value.code, caught.value.field) == ("invalid_request", field)
    allowed = Settings(allowed_fields=f"other, {field} ").allowed_field_names
    check({**BODY, field: "x"}, allowed)
    check({**BODY, field: None})


@pytest.mark.parametrize(
    "field", ["user", "provider", "models", "top_k", "demo", "reasoning_effort", "extra", "timeout"]
)
def test_what_steers_the_model_alone_passes(field: str) -> None:
    check({**BODY, field: {"x": 1}})


@on_valkey
async def test_the_setting_says_which_of_them_reach_the_gateway(settings: Settings, redis_url: str) -> None:
    body = orjson.dumps({**BODY, "extra_headers": {"x": "y"}})
    for allowed, status in (("", 422), ("extra_headers", 202)):
        async with a_site(short_settings(redis_url, allowed_fields=allowed)) as site:
            answer = await site.http.post("/v1/jobs", content=body)
        assert answer.status_code == status
        if status == 422:
            assert (answer.json()["code"], answer.json()["field"]) == ("invalid_request", "extra_headers")
