"""A model of the store: random sequences of commands, and a plain table of what the exchange said.

Belongs here: the exchange (`said`), the commands and what must hold after each (`machine`). Does not belong here:
single cases that are worth a name, which are tests of the room that they are about.
"""
