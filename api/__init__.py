"""The HTTP API: submits jobs and relays their logs to any number of watchers. Imported as `readalong.api`.

# Layout

    app             create_app: routes, middleware, lifespan
    server          `readalong api`: processes, signals, the listening socket
    dependencies    what the routes of one process share
    schemas         response models
    problems        errors as RFC 9457 problem details
    error_handlers  exceptions to problems
    openapi         what FastAPI cannot derive for openapi.json
    page_files      the files of the pages, by version
    page_modules    joins a page's modules into one
    redis_monitor   logs the state of Redis
    signal_shutdown  ends open streams on servers other than ours
    supervisor      ends the process when a background task ends

    routes/         one module for each group of calls; jobs_page is a page of the list
    submission/     from a request body to a queued job
    auth/           the policy, allowed hosts, allowed origins
    http/           the request's parts, and our connection and server on uvicorn
    fanout/         the hub, feeds, watchers
    wire/           events to bytes, one wire format a file (pure)
    page/           the pages at /, /inspect and /docs

docs/architecture.md shows how they work together.
"""
