"""The command line in a shell: values that it completes, and examples in the help.

Belongs here: what typer asks for. Does not belong here: the commands and their options.
"""
