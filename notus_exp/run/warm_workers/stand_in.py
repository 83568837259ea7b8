"""Has a worker forked, stands for it and ends as it ends: `python -I -S stand_in.py ADDRESS PYTHON -m MODULE ...`."""

import json
import os
import signal
import socket
import struct
import sys

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> None:
    """Ask for a worker with this process's environment, folder and streams; be it where nobody forks one."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    address, python, _, module, *arguments = sys.argv[1:]
    begun = answer = b""
    try:
        connection.connect(address)
        folder = os.getcwd()  # noqa: PTH109  # pathlib would be half of this process's time
        asked = {"module": module, "arguments": arguments, "folder": folder, "environment": {**os.environ}}
        asked["python"] = python if module == "torch.distributed.run" else sys.executable
        content = json.dumps(asked).encode()
        socket.send_fds(connection, [struct.pack("!I", len(content))], [0, 1, 2])
        connection.sendall(content)
        for number in FORWARDED:
            signal.signal(number, lambda number, _: connection.send(bytes([number])))
        begun = connection.recv(1)
        answer = connection.recv(4) if begun else b""
    except OSError:
        answer = b""
    if not begun:  # other libraries than those that are loaded, or nobody is there
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
    if not answer:  # the process between was killed, and the worker with it
        os.kill(os.getpid(), signal.SIGKILL)
    (code,) = struct.unpack("!i", answer)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
