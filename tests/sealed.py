"""A process that ends at once, by SIGSYS, when it or a process that it starts connects to anything on a network.

Native code is also held to it: Linux's seccomp looks at each system call, and takes no right to use. The length of an
address tells IPv4 (16 bytes) and IPv6 (28) from what stays on the machine. To look up a name is also a connection.
"""

from __future__ import annotations

import ctypes
import platform
import struct

SYSTEM_CALLS = {"x86_64": (0xC000003E, 42, 44), "aarch64": (0xC00000B7, 203, 206)}
"""The architecture, connect and sendto, as the kernel numbers them."""
LOAD, JUMP, EQUAL, RETURN = 0x20, 0x05, 0x15, 0x06
KILL_PROCESS, ALLOW = 0x8000_0000, 0x7FFF_0000
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2
NUMBER, ARCHITECTURE, THIRD_ARGUMENT, SIXTH_ARGUMENT = 0, 4, 32, 56  # where they are in struct seccomp_data


def seal() -> None:
    """Allow no connection from now on, to this thread and all that it starts."""
    architecture, connect, sendto = SYSTEM_CALLS[platform.machine()]
    steps = (  # what to do; how many steps to leave out if it is so, and if not; with what
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 0, 8, architecture),
        (LOAD, 0, 0, NUMBER),
        (EQUAL, 3, 0, connect),
        (EQUAL, 0, 5, sendto),
        (LOAD, 0, 0, SIXTH_ARGUMENT),
        (JUMP, 0, 0, 1),
        (LOAD, 0, 0, THIRD_ARGUMENT),
        (EQUAL, 2, 0, 16),
        (EQUAL, 1, 0, 28),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, KILL_PROCESS),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SET_SECCOMP, FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "this system has no seccomp")
