"""A person at a terminal: types into a command that runs on a pseudo terminal, and reads its screen."""

import os
import pty
import re
import select
import signal
import sys
import termios
import time

PATIENCE = 40.0
_CODE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from gpt_agent_fsm.cli import main; main()"
)
_ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>78])")


class Terminal:
    """The command `gpt-agent-fsm` on a terminal. Leave the `with` block to end it."""

    def __init__(self, *arguments, cwd, env=None):
        environ = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        environ |= {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **(env or {})}
        for name in ("CI", "NO_COLOR"):
            environ.pop(name, None)
        self.raw = ""
        self._read_until = 0
        self.pid, self._fd = pty.fork()
        if self.pid == 0:  # pragma: no cover - the child becomes another program
            os.chdir(cwd)
            os.execve(sys.executable, [sys.executable, "-c", _CODE, *arguments], environ)
        self.settings = termios.tcgetattr(self._fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._fd)
        try:
            if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass

    @property
    def text(self):
        """All that was shown, without colours and movements of the cursor."""
        return _ESCAPE.sub("", self.raw).replace("\r", "")

    def type(self, line):
        """Type a line and press Enter."""
        self.press(f"{line}\r")

    def press(self, keys):
        os.write(self._fd, keys.encode())

    def until(self, pattern):
        """Read until the pattern appears after the place up to which the last call has read. Return the match."""
        end = time.monotonic() + PATIENCE
        while (found := re.compile(pattern).search(self.text, self._read_until)) is None:
            assert self._read(end), f"{pattern!r} is missing in {self.text[self._read_until :]!r}"
        self._read_until = found.end()
        return found

    def ended(self):
        """Read to the end, and return the exit code."""
        end = time.monotonic() + PATIENCE
        while self._read(end):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self, end):
        ready, _, _ = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"nothing more comes after {self.text!r}"
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux reports the end of the other side as an error
            data = b""
        self.raw += data.decode(errors="replace")
        return bool(data)
