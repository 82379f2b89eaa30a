"""Live mode: datasets that are kept current, minute by minute.

Belongs here: one tick of one dataset and of a market, who may follow a dataset, which days need a run, how far a
dataset is behind. Does not belong here: who calls each minute (`defs.sensors`, `app.live`), how klines become a chunk
(`loading`).
May import: every other room of `core`.
"""
