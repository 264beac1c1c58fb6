"""The provider for OpenAI and compatible servers: request, response body and errors. `provider` is the entry."""
