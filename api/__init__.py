"""The HTTP face: submits jobs and relays their logs to any number of watchers.

# Layout

    app         create_app: routes, errors, lifespan
    policy      who may do what: every request asks it
    server      uvicorn around it: processes, signals
    uvicorn_inside  our own connection and server: what uvicorn does not document
    ending      the end of open streams on a server that is not ours
    services    what the routes share: log, queue, index, hub
    routes/     jobs, chat, health, and how a request reaches its function
    submit      from a valid body to a queued job, once
    chat_request  what a client may send
    room        whether one more job may wait
    listing     a page of the list
    body        reads a request's body within its limit
    job_view    a job as every call shows it
    problems    errors as RFC 9457 problem details

    hub         one Redis subscription for all; a feed for each watched job
    subscriber  that subscription's connection: confirm, heartbeat, reconnect
    feed        a job's newest events, shared by its watchers
    window      the events that a feed keeps
    runs        older ones, merged, and the bytes that watchers share
    watcher     one client's stream: a position
    line        its connection, taken over from the server: what a watcher needs of it
    attendance  tells Redis who is watched here
    formats/    events to bytes, one wire format a file (pure)
    page/       the page at /
"""
