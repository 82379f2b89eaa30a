"""The commands for research: `export`, `snapshot`.

Belongs here: their options, which use case they call, how their results look. Does not belong here: the use cases
(`reader.exporting`, `app.market.snapshots`), the commands that load and check (`cli.data_commands`).
"""
