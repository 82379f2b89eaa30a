"""Answers that are kept on this machine, so that a command that only reads need not import what finds them out.

Belongs here: keeping an answer and what it depends on. Does not belong here: which days Dagster has recorded, which its
home notes (`instance.events.noted`), numbers for the browse page (`api.datasets.summaries`).
"""
