"""Fields by which a gateway before the model lets its caller choose where the call goes, or with which key.

LiteLLM and others read them from the body. Of our clients none is to choose these, unless the operator allows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from readalong.core.errors import InvalidRequest

#: What OpenAI's own parameters never begin with.
_PREFIXES: Final = (
    *("aws_", "azure_", "gcs_", "langfuse_", "langsmith_", "litellm_", "mock_", "s3_", "sagemaker_", "ssl_"),
    *("vertex_", "watsonx_"),
)
_NAMES: Final = frozenset(
    {
        *("api_base", "api_key", "api_type", "api_version", "base_url", "deployment_id", "deployment_url"),
        *("organization", "client", "client_id", "client_secret", "http_client", "region_name", "tenant_id"),
        *("default_headers", "default_query", "extra_body", "extra_headers", "extra_query", "headers"),
        *("custom_llm_provider", "model_list", "user_config", "proxy_server_request", "secret_fields"),
        *("fallbacks", "default_fallbacks", "content_policy_fallbacks", "context_window_fallbacks"),
        *("callbacks", "failure_callback", "success_callback"),
        # vLLM's, which names a host to fetch from.
        "kv_transfer_params",
    }
)


def is_gateway_field(field: str) -> bool:
    """Whether a gateway may obey a field of this name, however it is written."""
    name = _plain(field)
    return name in _NAMES or name.startswith(_PREFIXES)


def refuse_gateway_fields(body: dict[str, Any], allowed: Iterable[str]) -> None:
    """Raises InvalidRequest, which names the first such field that is not null and not `allowed`."""
    for field, value in body.items():
        if value is not None and is_gateway_field(field) and _plain(field) not in allowed:
            raise InvalidRequest(
                f"{field}: a gateway may obey this field, and READALONG_ALLOWED_FIELDS does not name it.", field=field
            )


def _plain(field: str) -> str:
    return field.strip().lower().replace("-", "_")
