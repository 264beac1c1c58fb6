"""The arq face: takes jobs from the queue and streams them from the model into their logs.

# Layout

    main      one worker process: signals, loops, drain
    woken     arq's Worker, woken at once and holding short leases
    runner    the function that arq calls for each job, and the runs of this process
    run       one attempt of one job, from its claim to its end
    asking    when a run calls its model, and what follows from a call that failed
    gate      what a worker knows of a model that is away
    breaker   whether a worker gets through to its model
    ending    how an attempt's end is written, and told in the log
    tail      an attempt's end of the log: append, repair, outages
    provider  the seam: what an attempt needs of a model
    providers which provider answers a job, by its model's name
    openai_provider     the OpenAI-compatible model: one raw stream, errors translated
    openai_client       the SDK's client of this environment
    generator_provider  an async generator of the user's own
    pump      reads such a generator in a task of its own
    paths     functions of the user's own, named in a setting
    credentials where the model is and what opens it
    transport the way of a call to the model over aiohttp
    body      its body, read with few steps a piece
    answer    one answer, from the bytes of its event stream to events (pure)
    chunks    the model's chunks to events (pure)
    mould     the form that most chunks share (pure)
    calls     tool and function calls, put together from fragments (pure)
    arguments the arguments of one, and whether they are whole (pure)
    limits    what an answer may hold (pure)
    redaction takes our keys out of what a server says (pure)
    values    what the model's JSON may mean, and what it cannot (pure)
    meter     an attempt's times and rates (pure)
    outage    how an outage of Redis is logged
    cancels   looks at the cancel flags while models are silent
    sweep     mends what a crash left between two keys
    orphans   cancels jobs that nobody watches any more
    apart     keeps one job's broken keys from the others
"""
