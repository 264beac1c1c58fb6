"""The console command `readalong`.

# Layout

- `start`        the entry point: the guards that must precede all other imports
- `main`         the Typer app; turns errors into one line and an exit code
- `commands/`    one function a command
- `server_extra` the check for the packages that servers need
- `settings`     loads settings, for a reader or for a log
- `errors`       `CliError`: a line and an exit code

Clients of an API:

- `client`       an HTTP client with one-line errors
- `follower`     a job's events over as many connections as necessary
- `watcher`      `watch` and `ask`: a follower and a renderer
- `render/`      events, tables, times and rates for a terminal
- `sanitize`     foreign text and JSON, safe for a terminal

The demo:

- `demo/`        starts, supervises and ends all processes
- `model_env`    the environment variables that lead to a model
"""
