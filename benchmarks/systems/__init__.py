"""One module per system, each run in an environment of its own: `python -m benchmarks.systems.NAME COMMAND`.

`measure` starts the system's backend in an empty folder, measures everything that needs it running, and
prints one JSON object of numbers. `first` prints one line as soon as the first result is there.
"""
