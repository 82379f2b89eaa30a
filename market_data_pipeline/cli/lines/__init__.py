"""What commands with `--json` print while they work: objects on stdout, one a line.

Belongs here: the events and their fields, on which other programs rely. Does not belong here: results (`app.as_json`,
`app.market.as_json`), the same progress for people (`cli.progress`, `cli.market.progress`, `cli.live_table`).
"""
