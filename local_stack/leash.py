"""Ties a program to the life of its parent: `leash.py PARENT_PID UID SIGNAL PROGRAM ARGUMENT...` becomes the program.

The kernel sends the signal when the parent dies in whatever way, SIGKILL included. It is a file of its own, run with
`-I -S`, because code between fork and exec is not safe in a process with threads. UID 0 keeps the user.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Changes the user, asks for the signal, and becomes the program."""
    parent, uid, death_signal = (int(argument) for argument in sys.argv[1:4])
    program = sys.argv[4:]
    if uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    # After the change of user: that clears the request.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent was gone before the program started")
    try:
        os.execvp(program[0], program)  # noqa: S606 -- to become the program is the purpose
    except OSError as error:
        sys.exit(f"{program[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main()
