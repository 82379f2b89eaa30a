"""Scenarios: lives of pairs that a file tells, and requests that fail as it says.

Belongs here: the format of the file and its errors, the pairs and days that it tells, its failing requests, reading the
file again when it changes. Does not belong here: pages and zips (`simulator.data`), the endpoints (`simulator`).
May import: `simulator.data`, and `faults` and `queries` of the simulator; nothing of the other rooms.
"""
