"""The commands that ask whether all is well: `health`, `doctor`.

Belongs here: their options, and how their results look. Does not belong here: what is looked at (`app.health`,
`app.doctor`), whether stored klines are good (`verify` in `cli.data_commands`).
"""
