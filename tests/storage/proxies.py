"""A network that loses what it is told to lose, between a client and a PostgreSQL server."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

Cut = Callable[[bytes], bool]


def never(_chunk: bytes) -> bool:
    return False


class Proxy:
    """Forwards to a port. What ``cut_reply`` and ``cut_request`` are true of ends a connection.

    A reply that is cut never reaches the client. A request that is cut still reaches the server,
    ``late`` seconds after the client has lost its connection.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut_reply: Cut = never
        self.cut_request: Cut = never
        self.late = 0.0
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for work in (self._requests, self._replies):
                    threading.Thread(target=work, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while chunk := client.recv(65536):
                if self.cut_request(chunk):
                    self.cuts += 1
                    _end(client)
                    time.sleep(self.late)
                    server.sendall(chunk)
                    time.sleep(0.1)
                    break
                server.sendall(chunk)
        _end(server)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while chunk := server.recv(65536):
                if self.cut_reply(chunk):
                    self.cuts += 1
                    break
                client.sendall(chunk)
        _end(client)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
