"""`python -I -S asking.py ADDRESS SCRIPT -m MODULE ARGUMENTS`: has a worker forked, stands for it, ends as it ends."""

import json
import os
import signal
import socket
import struct
import sys

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(sys.argv[1])
    folder = os.getcwd()  # noqa: PTH109  # pathlib would be half of this process's time
    script, _, module, *arguments = sys.argv[2:]
    asked = {"module": module, "arguments": arguments, "folder": folder, "environment": {**os.environ}}
    asked["python"] = script if module == "torch.distributed.run" else sys.executable
    content = json.dumps(asked).encode()
    socket.send_fds(connection, [struct.pack("!I", len(content))], [0, 1, 2])
    connection.sendall(content)
    for number in FORWARDED:
        signal.signal(number, lambda number, _: connection.send(bytes([number])))
    answer = connection.recv(4)
    if not answer:  # other libraries than those that are loaded, or nobody is there
        os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
    (code,) = struct.unpack("!i", answer)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
