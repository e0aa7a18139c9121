"""A SOCKS proxy is used like any other, and each wait ends at the deadline."""

import http.server
import json
import socket
import struct
import threading

import pytest

from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.errors import OutcomeUnknown, TransientError
from gpt_agent_fsm.ports import RunRequest
from tests.backends.conftest import PATIENCE
from tests.backends.conftest import http as answer

RUN = {"id": "run_1", "status": "queued"}
SOON = 0.3


class SocksProxy:
    """A SOCKS 5 proxy for host names. It connects to this machine, whatever the name of the host is."""

    def __init__(self, *, is_silent=False):
        self.is_silent = is_silent
        self.hosts = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client:
            self.serve_client(client)

    def serve_client(self, client):
        client.recv(257)
        if self.is_silent:
            client.recv(1)  # until the client gives up
            return
        client.sendall(b"\x05\x00")
        request = client.recv(300)
        length = request[4]
        self.hosts.append(request[5 : 5 + length].decode())
        (port,) = struct.unpack("!H", request[5 + length : 7 + length])
        with socket.create_connection(("127.0.0.1", port)) as server:
            client.sendall(b"\x05\x00\x00\x01" + bytes(6))
            back = threading.Thread(target=self.pump, args=(server, client), daemon=True)
            back.start()
            self.pump(client, server)
            back.join()

    @staticmethod
    def pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture
def use_proxy(monkeypatch):
    proxies = []

    def use(**options):
        proxies.append(SocksProxy(**options))
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{proxies[-1].port}")
        return proxies[-1]

    yield use
    for proxy in proxies:
        proxy.listener.close()


def post(backend, timeout=PATIENCE):
    return backend.create_run(RunRequest(thread_id="t", assistant_id="a", key="k"), timeout=timeout)


def test_requests_go_through_the_proxy_which_knows_the_host(use_proxy, serve):
    proxy, server = use_proxy(), serve(answer(RUN))
    backend = AssistantsBackend(f"http://agents.test:{server.port}/v1", "k")
    assert [post(backend).id for _ in range(3)] == ["run_1"] * 3
    assert proxy.hosts == ["agents.test"]
    assert server.connections == 1
    backend.close()


def test_tls_goes_through_the_proxy(use_proxy, tls, certificate, monkeypatch):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(RUN).encode())

        def log_message(self, *_):
            pass

    proxy, server = use_proxy(), http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    backend = AssistantsBackend(f"https://localhost:{server.server_port}/v1", "k")
    assert post(backend).id == "run_1"
    assert proxy.hosts == ["localhost"]
    backend.close()
    server.shutdown()
    server.server_close()


def test_a_silent_proxy_is_given_up_in_time_and_nothing_was_sent(use_proxy):
    use_proxy(is_silent=True)
    with pytest.raises(TransientError) as caught:
        post(AssistantsBackend("http://agents.test/v1", "k"), SOON)
    assert type(caught.value) is TransientError


def test_an_answer_that_is_lost_behind_the_proxy_is_in_doubt(use_proxy, serve):
    use_proxy()
    server = serve(lambda connection, _: connection.shutdown(socket.SHUT_RDWR))
    with pytest.raises(OutcomeUnknown):
        post(AssistantsBackend(f"http://agents.test:{server.port}/v1", "k"))
