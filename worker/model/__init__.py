"""How a worker calls its models.

What every provider gets:
    call, gate, breaker     when an attempt may call, and what follows from a failed call
    provider                the seam: what a provider must do
    chunks/                 chunks to events, one accumulator for each call (pure)
    limits, redaction       how large an answer may be, and which texts must not leave the process

The providers:
    openai/                 OpenAI's chat completions and compatible servers, over HTTP
    generator_provider      an async generator of the user's own, read in a `generator_task`
    providers               which of them answers a job
"""
