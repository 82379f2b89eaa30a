"""A command in a terminal of some width, as a person sees it. Not on Windows.

Does not belong here: any assertion about the project.
"""

import contextlib
import os
import re
import subprocess
import sys

from market_data_pipeline_tests.support import CHECKOUT, MarketData

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def in_terminal(tool: MarketData, *words: str, columns: int, **env: str) -> str:
    """What a command prints, on both streams, with its escape sequences."""
    return ended_in_terminal(tool, *words, columns=columns, **env)[1]


def ended_in_terminal(tool: MarketData, *words: str, columns: int, **env: str) -> tuple[int, str]:
    """The exit code of a command, and what it prints, as `in_terminal`."""
    import fcntl
    import pty
    import struct
    import termios

    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    given = {**os.environ, "TERM": "xterm-256color", **tool._env(env)}
    given = {name: value for name, value in given.items() if value is not None and name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "market_data_pipeline", *words]
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=given, stdin=terminal, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        content = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while piece := os.read(reader, 1 << 16):
                content += piece
        code = process.wait(60)
    os.close(reader)
    return code, content.decode("utf-8", errors="replace").replace("\r\n", "\n")


def shown_lines(text: str) -> list[str]:
    """The lines as they are seen: without escape sequences."""
    return _ESCAPES.sub("", text).splitlines()
