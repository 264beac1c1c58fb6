"""Output for a terminal.

- `event_renderer` a job's events: text on stdout, notes on stderr
- `jobs_table`     the table of `readalong jobs`
- `settings_table` the table of `readalong settings`
- `metrics`        times and rates as text
- `terminal`       a console whose terminal may be closed
"""
