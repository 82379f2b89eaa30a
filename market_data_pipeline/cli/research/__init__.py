"""The commands for research: `export`.

Belongs here: their options, which use case they call, how their results look. Does not belong here: the use cases
(`reader.exporting`), the commands that load and check (`cli.data_commands`).
"""
