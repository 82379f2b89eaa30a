"""The files under the data root: what they are called, how they are read, and how they are written without loss.

Belongs here: layout, chunks, manifest, `dataset.json`, revisions, combined files, locks. Nothing else in the package
writes to the data root. Does not belong here: what to load (`loading`), whether the whole store is good (`proof`).
May import: `core.klines`, `core.errors`.
"""
