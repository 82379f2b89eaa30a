"""The scripts that are measured, each started as a process of its own with `python -m benchmarks.measured.NAME`.

Belongs here: the work of one side, and what it says of itself as one JSON line (`stopwatch`). Each script imports what
it needs before its stopwatch starts. Does not belong here: what a script is compared with (`cases`).
"""
