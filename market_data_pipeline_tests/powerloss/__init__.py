"""Power cuts, replayed: each state of the disk that one can leave is made, looked at, and healed by the next command.

Belongs here: what is recorded (`recording`), which states are legal (`cuts`), what is done meanwhile (`scenarios`),
what has to hold (`checking`), and the same for an object store (`objects`, `object_server`). Does not belong here:
kills of processes, which lose nothing that is in the system's memory (`test_kill`).
"""
