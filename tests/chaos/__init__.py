"""Random faults from a seed, and a checker that reads the history of the run: `make chaos`.

# Layout

- `plan`           the length of a run, its load, and the settings of its processes
- `client_plan`    one job's clients, drawn at random: the request, its watchers, its cancels, its erase
- `history`        the files that a run leaves
- `cluster`        the processes, a proxy between each of them and Redis, and one between each worker and the model
- `nemesis`        injects the faults
- `job_client`     submits a job, or chats; cancels or erases the job, and starts its readers
- `reader`         watches one job as an EventSource does, and drops, resumes, dawdles or leaves
- `face_client`    submits a job by OpenAI's chat completions or Responses, or by the AI SDK
- `face_reader`    watches a job by one of them
- `fuzz_client`    sends malformed requests
- `attacker`       attacks as docs/security.md lists
- `hostile_model`  the demo model, and models that answer with what no model should
- `final_state`    reads what is left when the load has ended
- `run`            one run, from start to the files
- `verdict`        the report of a run
- `checker`        reads the history; shares no code with the other modules
- `__main__`       `python -m tests.chaos`

Tests of the checker:

- `history_builder`         writes small histories
- `clean_history`           a history without a violation
- `lost_log`                a job of which Redis lost events
- `planted_faults`, `planted_hostile_faults`  faults to plant in the clean history
"""
