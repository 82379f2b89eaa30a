"""What the simulated exchange has: pairs, prices, halts, klines, archive files.

Belongs here: values for any minute, the same in each run. Does not belong here: HTTP (`simulator`).
"""
