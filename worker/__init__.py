"""The arq face: acquires jobs from the queue and streams them from a model into their logs. Imported as
`readalong.worker`.

# Layout

    main            one worker process: signals, drain, exit
    worker          arq's Worker, woken at once and holding short leases
    job_runner      the function that arq calls for each job, and the attempts of this process
    attempt         one attempt of one job, from its claim to its end
    attempt_timer   its time limits, on one timer
    attempt_end     writes its end, and the line of the worker's log about it
    log_writer      appends its events, sends again what Redis lost, waits out outages
    timings         its times and rates (pure)
    cancel_listener reads the cancel flags while models are silent
    reconciler      repairs lists and queue after a crash, ends waiting jobs that are cancelled or late
    abandoned_jobs  cancels jobs without watchers
    bisect          runs a batch so that a broken key fails its own job only
    heartbeat       the sign of life of this worker
    lifeline        the subscription that shows other workers that this one lives
    dead_workers    finds dead workers and frees their jobs
    model           the provider seam: the calls of the model, and what they return

docs/architecture.md shows how they work together.
"""
