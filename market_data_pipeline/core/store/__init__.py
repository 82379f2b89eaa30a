"""The files under the data root: what they are called, how they are read, and how they are written without loss.

Belongs here: layout, the place of the files (`storage`), chunks (in a room of their own), manifest, `dataset.json`,
revisions, combined files, named lists of chunks (`snapshots`), locks. Only this room writes to the folders of datasets.
Does not belong here: what to load (`loading`), whether the whole store is good (`proof`).
May import: `core.catalog`, `core.klines`, `core.errors`.
"""
