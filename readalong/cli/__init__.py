"""The console command `readalong`.

# Layout

- `start`        the entry point: the guards that must precede all other imports
- `main`         the Typer app; turns errors into one line and an exit code
- `commands/`    one function a command
- `server_extra` the check for the packages that servers need
- `settings`     loads settings, for a reader or for a log
- `errors`       `CliError`: a line and an exit code

Clients of an API:

- `exit_codes`   what each exit code means
- `client`       an HTTP client with one-line errors
- `api_client`   the client of all commands: finds jobs by the beginning of an id, lists, erases
- `follower`     a job's events over as many connections as necessary
- `changes`      the stream of all changes, likewise
- `trouble`      tells of trouble that lasts, for both
- `job_streams`  several streams, a thread each, in one queue
- `watching`     `watch` and `ask`: followers whose events are rendered
- `question`     what `ask` asks: its words, and a pipe's text
- `interrupts`   signals that end a program as Ctrl-C does
- `queue_place`  where a job waits
- `following`    `jobs --follow`
- `erasing`      `erase`: finds, asks, erases
- `live_top`     `top`
- `doctor/`      the checks of `doctor`
- `completion`   job ids for the shell
- `json_fields`  fields of foreign JSON
- `durations`    `1h30m` as seconds
- `render/`      events, tables, screens, times and rates for a terminal
- `sanitize`     foreign text and JSON, safe for a terminal

The demo:

- `demo/`        starts, supervises and ends all processes
- `model_env`    the environment variables that lead to a model
"""
