"""The examination of an installation: what a person needs who asks for help, on one page.

Belongs here: one module for each kind of thing that is looked at, and the way they are all looked at within seconds.
Does not belong here: whether a load could start now (`app.health`), whether the data is good (`app.verify`), printing.
"""
