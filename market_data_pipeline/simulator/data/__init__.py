"""The data of the simulated exchange: pairs, prices, halts, klines, archive files, the clock.

Belongs here: values for any minute, the same in each run, and their text as JSON or CSV. Does not belong here: HTTP and
faults (`simulator`).
May import: nothing of the other rooms, nor of `simulator` itself.
"""
