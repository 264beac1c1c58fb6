"""The arq face: takes jobs from the queue and streams them from a model into their logs. Imported as
`readalong.worker`.

# Layout

    main             one worker process: signals, drain, exit code
    worker           arq's worker, woken at once and holding short leases
    job_runner       claims jobs and keeps this process's attempts
    attempt          one attempt of one job, from its claim to its end
    attempt_end      the end of an attempt: the terminal event, metrics
    log_writer       an attempt's end of the log: append, resend, outages
    timings          an attempt's times and rates (pure)
    model/           providers: from a request to events
    cancel_listener  cancel flags of jobs whose model is silent
    abandoned_jobs   cancels jobs without watchers
    dead_workers     notices workers that are gone
    lifeline         the connection by which others notice this one
    reconciler       mends what a crash left between two keys
    bisect           confines a failure to the one job whose keys are corrupt

docs/architecture.md shows how they work together.
"""
