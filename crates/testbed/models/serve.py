"""Serve one trained model with MLServer, for as long as the caller lives.

Usage: MLSERVER_HTTP_PORT=PORT python serve.py FOLDER

The same as `mlserver start FOLDER`, with one addition: the process ends when
its standard input does. Whoever starts it holds the other end of a pipe, so a
caller that dies, however it dies, takes the server with it.
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

    # Imported late: it takes seconds, and the caller may be gone before.
    from mlserver.cli import main

    sys.argv[1:1] = ["start"]
    main()
