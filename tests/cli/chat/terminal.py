"""A person at a terminal: types into a command that runs on a pseudo terminal, and reads its screen."""

import codecs
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time

PATIENCE = 40.0
_CODE = """
import fcntl, signal, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C arrives as a signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from gpt_agent_fsm.cli import main
"""
_ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>78])|[\x08\r]")
CTRL_C, CTRL_D, ENTER, ALT_ENTER, UP = "\x03", "\x04", "\r", "\x1b\r", "\x1b[A"
PROMPT = r"\n> ?$"


class Terminal:
    """The command `gpt-agent-fsm` on a terminal. The end of the `with` block ends it.

    Attributes:
        settings: how the terminal is set now: whether it echoes, has lines, ...
        raw: all that was shown.

    Args:
        first: Python code that the program runs before the command.
        size: the rows and the columns of the terminal.
    """

    def __init__(self, *arguments, first="", size=None, **env):
        names = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "FORCE_COLOR")}
        names |= {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **env}
        self.raw = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._read_until = 0
        self._leader, self._follower = pty.openpty()
        if size:
            termios.tcsetwinsize(self._leader, size)
        command = [sys.executable, "-c", f"{_CODE}{first}\nmain()", *arguments]
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), self._follower)
        self._process = subprocess.Popen(command, env=names, start_new_session=True, **streams)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._follower)
        os.close(self._leader)

    @property
    def text(self):
        """All that was shown, without colours and movements of the cursor."""
        return _ESCAPE.sub("", self.raw)

    @property
    def settings(self):
        return termios.tcgetattr(self._follower)

    def type(self, line):
        """Type a line and press Enter."""
        self.press(line + ENTER)

    def press(self, keys):
        os.write(self._leader, keys.encode())

    def until(self, pattern):
        """Read until the pattern appears in what was not read yet. Return what was read."""
        end = time.monotonic() + PATIENCE
        while (found := re.compile(pattern).search(self.text, self._read_until)) is None:
            assert self._read(end), f"{pattern!r} is missing in {self.text[self._read_until :]!r}"
        before, self._read_until = self._read_until, found.end()
        return self.text[before : found.end()]

    def prompted(self):
        """Read until the chat asks for a message. Return what was read."""
        return self.until(PROMPT)

    def ended(self):
        """Read to the end, and return the exit code."""
        code = self._process.wait(PATIENCE)
        while select.select([self._leader], [], [], 0)[0]:
            self._read(time.monotonic())
        return code

    def _read(self, end):
        ready, _, _ = select.select([self._leader], [], [], max(0.0, end - time.monotonic()))
        if ready:
            self.raw += self._decoder.decode(os.read(self._leader, 65536))
        return bool(ready)
