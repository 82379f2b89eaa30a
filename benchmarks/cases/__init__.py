"""The benchmarks: one function each, which runs the sides in turns and yields the lines of the result.

Belongs here: what is compared with what, on which data, and the goal. The docstring of each function is its text in
docs/benchmarks.md. Does not belong here: the work that is measured (`measured`).
"""
