"""A TCP proxy before a database server, which can freeze, and which can cut a connection at a COMMIT."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Passes bytes on, until told otherwise.

    Attributes:
        url: that of the server, by way of the proxy.
        answering: cleared to freeze the server: bytes are taken, and no answer arrives.
        unanswered: released when the frozen server is asked something.
        lost: how many commits were cut.
    """

    def __init__(self, url):
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listening]
        self._workers = []
        login = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self._listening.getsockname()[1]}"))
        self.answering = threading.Event()
        self.answering.set()
        self.unanswered = threading.Semaphore(0)
        self.lost = 0
        self._refuses = False
        self._cuts = None
        self._keeps_session = False
        self._start(self._accept)

    def _start(self, target, *arguments):
        self._workers.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._workers[-1].start()

    def cut_next_commit(self, *, passed_on, keep_session=False):
        """Lose the next COMMIT of a transaction that writes, before or after the server has it; then refuse.

        `keep_session`: do not tell the server that the client is gone.
        """
        self._cuts, self._keeps_session = passed_on, keep_session

    def be_back(self):
        """Accept connections again."""
        self._refuses = False

    def close(self):
        self.answering.set()
        for each in self._sockets:
            _shut(each)
        for worker in self._workers:
            worker.join(10)
        for each in self._sockets:
            each.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._refuses:
                    client.close()
                    continue
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                self._start(self._pass_on, client, server, self._may_ask)
                self._start(self._pass_on, server, client, self._may_answer)

    def _pass_on(self, source, target, may):
        wrote = False
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                wrote = wrote or b"UPDATE gpt_agent_meta" in data
                if not may(data, wrote, source, target):
                    break
                target.sendall(data)
                wrote = wrote and b"COMMIT" not in data
        if not self._keeps_session:
            _shut(source)
            _shut(target)

    def _may_answer(self, _data, _wrote, _source, _target):
        self.answering.wait()
        return True

    def _may_ask(self, data, wrote, client, server):
        if not self.answering.is_set():
            self.unanswered.release()
        if self._cuts is None or not wrote or b"COMMIT" not in data:
            return True
        passed_on, self._cuts, self._refuses = self._cuts, None, True
        self.lost += 1
        _shut(client)
        if passed_on:
            server.sendall(data)
            # The server says that it is ready: it has committed.
            server.settimeout(10)
            with contextlib.suppress(OSError):
                server.recv(65536)
        return False


def _shut(end):
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
