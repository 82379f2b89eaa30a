"""The live exchange against what this project takes it for: weights, columns, error codes, listings, the archive.

Belongs here: asking, the recorded shapes in `recorded.json`, and comparing. Does not belong here: values of klines, and
anything of the package itself: what it takes for granted is asked for by a plain HTTP client.
"""
