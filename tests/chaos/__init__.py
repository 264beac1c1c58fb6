"""Everything broken at random from a seed, and a checker that reads the history of it: `make chaos`.

# Layout

- `plan`      how long, how much, and the settings of the processes
- `wish`      one job as its clients want it: its request, who watches, who cancels, who erases
- `history`   the files that a run leaves
- `cluster`   the processes, and a proxy on each one's way to Redis and each worker's to the model
- `nemesis`   what is done to them
- `customer`  submits a job, or chats; cancels or erases it, brings its readers
- `reader`    watches one job as an EventSource does, and drops, resumes, dawdles or leaves
- `vandal`    sends rubbish
- `intruder`  attacks, as docs/security.md lists it
- `rogue`     the demo model, among models that answer with what no model should
- `after`     what is left when all is quiet again
- `run`       one run, from start to the files
- `verdict`   what is said of it
- `checker`   reads the history; shares no code with all the others
- `__main__`  `python -m tests.chaos`
"""
