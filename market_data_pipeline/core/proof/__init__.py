"""What is stored, proved: chunks against the manifest, klines against the rules, values against another source.

Belongs here: reading without changing anything, and naming what is not as it should be. Does not belong here: the rules
themselves (`klines`), loading again (`loading.repair`).
May import: `core.store`, `core.sources`, `core.klines`, `core.errors`.
"""
