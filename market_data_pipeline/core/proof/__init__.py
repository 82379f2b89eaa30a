"""What is stored, proved: chunks against the manifest, klines against the rules, values against another source; repair.

Belongs here: reading what is stored, naming what is wrong with it, and `repair`, which loads bad days again and proves
them again. Nothing but `repair` changes data; `rolling` notes what it has read. Does not belong here: the rules
(`klines`), loading (`loading`).
May import: `core.loading`, `core.store`, `core.sources`, `core.klines`, `core.errors`.
"""
