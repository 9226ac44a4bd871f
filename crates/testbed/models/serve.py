"""Serve one trained model with MLServer, for as long as the caller lives.

Usage: MLSERVER_HTTP_PORT=PORT python serve.py FOLDER

The same as `mlserver start FOLDER`, with four additions. The process ends when
its standard input does: whoever starts it holds the other end of a pipe, so a
caller that dies, however it dies, takes the server with it. Each model computes
on one thread: for rows of 30 numbers a pool costs three times as much as it
gives. And the head of an answer leaves together with its body: between the two
a kill would cut the answer in half, and no proxy can take back an answer that
has begun. And an idle connection stays open longer than Envoy keeps one (an
hour): a server that closes it first may do so just as a request is on its way,
which then fails through nobody's fault.
"""

import asyncio
import os
import sys
import threading

KEEP_ALIVE = 2 * 3600  # seconds


def end_with_the_caller():
    while os.read(0, 4096):
        pass
    os._exit(0)


class JoinedWrites:
    """A transport that writes once in a turn of the event loop."""

    def __init__(self, transport):
        self._transport = transport
        self._held = []

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def write(self, data):
        if not self._held:
            asyncio.get_running_loop().call_soon(self._flush)
        self._held.append(data)

    def close(self):
        self._flush()
        self._transport.close()

    def _flush(self):
        if self._held:
            self._transport.write(b"".join(self._held))
            self._held.clear()


if __name__ == "__main__":
    threading.Thread(target=end_with_the_caller, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # read when the libraries load

    # Imported late: it takes seconds, and the caller may be gone before.
    from mlserver.cli import main
    from uvicorn.protocols.http.h11_impl import H11Protocol

    connection_made = H11Protocol.connection_made

    def keep(protocol, transport):
        protocol.timeout_keep_alive = KEEP_ALIVE
        connection_made(protocol, JoinedWrites(transport))

    H11Protocol.connection_made = keep
    sys.argv[1:1] = ["start"]
    main()
