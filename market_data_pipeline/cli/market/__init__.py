"""The command line about a whole market: its pairs, universes, and loads of many pairs.

Belongs here: commands, progress and results of them. Does not belong here: the use cases (`app.market`), the commands
about datasets (`cli`).
May import: the other modules of `cli` but `main` and the commands, and all that they may import.
"""
