"""Serve one trained model with MLServer, for as long as the caller lives.

Usage: MLSERVER_HTTP_PORT=PORT python serve.py FOLDER

The same as `mlserver start FOLDER`, with two additions. The process ends when
its standard input does: whoever starts it holds the other end of a pipe, so a
caller that dies, however it dies, takes the server with it. And each model
computes on one thread: for rows of 30 numbers a pool costs three times as much
as it gives.
"""

import os
import sys
import threading


def end_with_the_caller():
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_caller, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # read when the libraries load

    # Imported late: it takes seconds, and the caller may be gone before.
    from mlserver.cli import main

    sys.argv[1:1] = ["start"]
    main()
