"""Fields by which a gateway before the model lets its caller choose the server or the key of the call.

LiteLLM and others read them from the body. Clients may not send them, unless the operator allows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from readalong.core.errors import InvalidRequest

#: No parameter of OpenAI begins with these.
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
        # vLLM's: a host to fetch from.
        "kv_transfer_params",
    }
)


def is_gateway_field(field: str) -> bool:
    """Returns whether a gateway could obey a field of this name, in any spelling."""
    name = _normalize(field)
    return name in _NAMES or name.startswith(_PREFIXES)


def refuse_gateway_fields(body: dict[str, Any], allowed: Iterable[str]) -> None:
    """Raises InvalidRequest for the first such field that is neither null nor `allowed`."""
    for field, value in body.items():
        if value is not None and is_gateway_field(field) and _normalize(field) not in allowed:
            raise InvalidRequest(
                f"{field}: a gateway could obey this field; READALONG_ALLOWED_FIELDS does not allow it.", field=field
            )


def _normalize(field: str) -> str:
    return field.strip().lower().replace("-", "_")
