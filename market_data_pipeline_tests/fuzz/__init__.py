"""Damaged bodies for everything that reads bytes of others: no crash, no hang, no false row.

Belongs here: how bodies are damaged (`damage`), the readers and what they may do with such a body (`readers`).
Does not belong here: faults of an exchange that a load has to get over, which are tests of their own.
"""
