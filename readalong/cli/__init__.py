"""The person's face: the console command `readalong`.

# Layout

Entry:
    start       what must hold before the imports
    main        the Typer app: one function a command, errors as one line and an exit code
    problem     the error that ends a command

Talking to an API:
    client      one HTTP client, problem details as one line
    follow      a job's events over as many connections as it takes
    show        events as text on stdout and notes on stderr
    listing     the table of `readalong jobs`
    metrics     times and rates in words
    plain       text and JSON of others, as a terminal may be shown them
    terminal    a console whose terminal may go away

Showing the configuration:
    reach       how the model is reached, by the environment
    variables   the table of `readalong settings`

The demo:
    demo        which processes, in which order, and what is printed
    processes   starts, supervises and ends processes as one group
    ports       free and taken ports
"""
