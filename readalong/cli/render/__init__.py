"""Output for a terminal.

- `event_renderer` a job's events: text on stdout, notes on stderr
- `json_events`    the same as JSON
- `prefix_writer`  lines that begin with a job's id
- `columns`        tables that fit the terminal
- `jobs_table`     the table of `readalong jobs`
- `job_screen`     the screen of `readalong show`
- `workers_table`  the tables of `readalong workers`
- `status_screen`  the screen of `readalong status`
- `top_screen`     the screen of `readalong top`
- `settings_table` the table of `readalong settings`
- `sparkline`      plots of one line
- `metrics`        times and rates as text
- `patience`       a sign of life for what takes longer than a second
- `terminal`       a console whose terminal may be closed
"""
