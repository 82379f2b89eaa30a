"""What is stored, as `status` shows it.

Belongs here: the way from the options to the table, which imports nothing that takes long where the answer is kept.
Does not belong here: the numbers (`app.status`), keeping them (`app.noting`).
"""
