"""The person's face: the console command `readalong`.

# Layout

Entry:
    main        the Typer app: one function a command, errors as one line and an exit code
    problem     the error that ends a command

Talking to an API:
    client      one HTTP client, problem details as one line
    follow      a job's events over as many connections as it takes
    show        events as text on stdout and notes on stderr
    listing     the table of `readalong jobs`
    metrics     times and rates in words
    plain       text of others made harmless for a terminal

Showing the configuration:
    reach       how the model is reached, by the environment
    variables   the table of `readalong settings`

The demo:
    demo        which processes, in which order, and what is printed
    household   starts, watches and ends processes as one group
    child       one process and the end of what it wrote
    guard       kills the group when the demo itself dies
    valkey      the embedded server
    ports       free and taken ports
"""
