"""Where a budget of request weight is kept that processes share.

Belongs here: the budget, its file, its row in Postgres. Does not belong here: how much may be spent, and when
(`sources.governor`), which of the places an installation has (`instance.budgets`).
"""
