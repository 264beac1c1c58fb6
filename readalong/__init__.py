"""What the API and the workers share: the events, the log in Redis, the queue, the settings.

# Layout

Pure (no I/O, no await):
    events    what a job's log holds, and how one event is written as JSON
    entries   how the log's stream stores them, merged after the end
    states    the life of a job and its legal moves
    keys      every name in Redis
    fold      events to text, tool calls and end
    sse       server-sent events, written and read
    record    a job's hash as a typed record
    errors    the tree of errors, each with a code
    settings  one frozen object from the environment
    terms     how a job wants to be treated: lost workers, deadline, watchers

I/O:
    cancellable redis-py's connections, on which no cancellation gets lost
    connection  how we connect to Redis: time-outs, retries, translated errors
    sentinel    which server is the primary just then
    link        a connection whose answers are parsed where they arrive
    pipe        one connection that carries many calls at once
    scripts     the Lua scripts of lua/, called by name
    reader      how a job's record and log are read
    submission  a job that is about to be written
    log         a job's log: submit, claim, append, finish, cancel
    index       the lists of jobs, by time, state and model
    queue       arq's queue: enqueue, take, renew, release
    watched     jobs that end when nobody watches them
"""

__version__ = "0.1.0"
