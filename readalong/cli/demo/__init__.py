"""The demo: all processes of readalong on one machine.

- `demo`            which processes run, in which order, and the lines that are printed
- `options`         the options of the command
- `process_group`   starts, supervises, restarts and ends processes
- `managed_process` one process: its command, its last lines, its end
- `programs`        the commands of readalong and Valkey
- `ports`           a port to listen on
"""
