"""A guard for child processes: they are killed when they, or what they start, connect or send to an internet address, or listen.

A seccomp filter, because all children inherit it, a static ffmpeg too. It cannot follow pointers, so it tells addresses by their sizes,
and forbids calls whose addresses it cannot see. To make a socket is allowed: libraries do it to see whether the system knows IPv6.
Source: seccomp(2), ip(7), ipv6(7); linux/seccomp.h and linux/filter.h for numbers.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from typing import NamedTuple

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
LOAD, JUMP, JUMP_IF_EQUAL, JUMP_IF_ABOVE, RETURN = (
    *(0x20, 0x05, 0x15),  # BPF_LD|W|ABS, BPF_JMP|JA, BPF_JMP|JEQ|K
    *(0x25, 0x06),  # BPF_JMP|JGT|K, BPF_RET|K
)
NUMBER_OFFSET, ARGUMENTS_OFFSET, ARGUMENT_BYTES = 0, 16, 8  # of struct seccomp_data
IPV4_BYTES, IPV6_BYTES = 16, 28  # of a socket address
UNIX_BYTES = 110  # at most; what is larger has room for an address of any kind


class Calls(NamedTuple):
    """Numbers of system calls: the length of an address is an argument of the first two, the others are forbidden."""

    connect: int
    sendto: int
    forbidden: tuple[int, ...]  # listen, sendmsg, sendmmsg, io_uring_setup


CALLS = {
    "x86_64": Calls(42, 44, (50, 46, 307, 425)),
    "aarch64": Calls(203, 206, (201, 211, 269, 425)),
}
CAN_GUARD = sys.platform == "linux" and platform.machine() in CALLS


def forbid_internet():
    """Put this process, and all that it starts, under the guard."""
    calls = CALLS[platform.machine()]
    address = [
        (LOAD, 0, 0, ARGUMENTS_OFFSET + 2 * ARGUMENT_BYTES),  # of connect
        (JUMP, 0, 0, 1),
        (LOAD, 0, 0, ARGUMENTS_OFFSET + 5 * ARGUMENT_BYTES),  # of sendto
        (JUMP_IF_EQUAL, 3, 0, IPV4_BYTES),
        (JUMP_IF_EQUAL, 2, 0, IPV6_BYTES),
        (JUMP_IF_ABOVE, 1, 0, UNIX_BYTES),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, KILL_PROCESS),
    ]
    to_kill = len(address) + 2  # from behind the last forbidden call
    forbidden = calls.forbidden
    steps = [
        (LOAD, 0, 0, NUMBER_OFFSET),
        *((JUMP_IF_EQUAL, to_kill + len(forbidden) - place, 0, call) for place, call in enumerate(forbidden, 1)),
        (JUMP_IF_EQUAL, 2, 0, calls.connect),
        (JUMP_IF_EQUAL, 3, 0, calls.sendto),
        (RETURN, 0, 0, ALLOW),
        *address,
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) == 0


GUARD = forbid_internet if CAN_GUARD else None  # for `preexec_fn`
