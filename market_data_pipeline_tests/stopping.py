"""Asking one process to stop, as a person or a service manager does, on every operating system.

Does not belong here: killing it, any assertion about the project.
"""

import ctypes
import signal
import subprocess
import sys
from typing import Protocol

# Windows sends Ctrl-C and Ctrl-Break to all processes of a console. So each one that is to be stopped has a console of
# its own, without a window.
OWN_CONSOLE = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
"""For `creationflags` of a process that is to be interrupted or stopped."""
IN_WINE = sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
"""Whether this is Python for Windows in Wine."""
_CTRL_C, _CTRL_BREAK = 0, 1
# The sender is in that console then, too, and must not end by what it sends.
_SEND = """
import ctypes, sys, time
console = ctypes.WinDLL("kernel32", use_last_error=True)
console.FreeConsole()
if not console.AttachConsole(int(sys.argv[1])):
    raise ctypes.WinError(ctypes.get_last_error())
heard = ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)(lambda event: 1)
console.SetConsoleCtrlHandler(heard, 1)
console.GenerateConsoleCtrlEvent(int(sys.argv[2]), 0)
time.sleep(0.5)
console.FreeConsole()
"""


class Running(Protocol):
    """A process of `subprocess` or `psutil`."""

    pid: int

    def send_signal(self, sig: int, /) -> None:
        """Send a signal."""


def interrupt(process: Running) -> None:
    """Press Ctrl-C."""
    _send(process, signal.SIGINT, _CTRL_C)


def stop(process: Running) -> None:
    """Send SIGTERM, or press Ctrl-Break on Windows."""
    _send(process, signal.SIGTERM, _CTRL_BREAK)


def _send(process: Running, number: signal.Signals, event: int) -> None:
    if sys.platform == "win32":
        subprocess.run([sys.executable, "-c", _SEND, str(process.pid), str(event)], check=True)
    else:
        process.send_signal(number)
