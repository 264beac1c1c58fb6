"""The HTTP face: submits jobs and relays their logs to any number of clients. Imported as `readalong.api`.

# Layout

    app           `create_app`: routes, errors, lifespan
    dependencies  what the routes share, and the policy's questions
    routes/       one function an endpoint
    http/         requests and connections: bodies, positions, uvicorn's protocol
    auth/         the policy; which hosts and origins are allowed
    submission/   from a body to a queued job
    fanout/       one Redis subscription, a feed for each watched job, a watcher for each client
    wire/         events to bytes, one file a format (pure)
    page/         the page at /
    schemas       a job as every endpoint shows it
    problems      errors as problem details (RFC 9457)
    server        `readalong api`: uvicorn, processes, signals
    supervisor    background tasks whose end is a failure of the process

docs/architecture.md shows how they work together.
"""
