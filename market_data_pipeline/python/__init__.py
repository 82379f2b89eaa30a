"""The Python interface: the commands about data as functions, for notebooks and scripts.

Belongs here: parameters as Python has them, warnings, errors. Does not belong here: the use cases (`app`), reading
klines (`reader`), what the package exports (`market_data_pipeline/__init__.py`).
May import: `app` and what is below it, and the progress display of `cli`. See docs/python.md.
"""
