"""Keep glibc from handing large buffers back to the system after every layer.

By default malloc maps each buffer above a threshold freshly from the kernel and unmaps it when freed, so every layer of
a network on the CPU pays page faults for all of its activations again: half of the time in inference on large images.
mallopt(3), https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_LARGEST = 2**31 - 1
"""mallopt takes an int."""


def keep_large_buffers() -> bool:
    """Let freed memory stay with this process, for the rest of its life; returns whether that took effect.

    It costs memory (15 to 40 % more at the peak in the measured networks), so it is for programs whose work is
    inference on the CPU. Only glibc, hence Linux, has the switch: elsewhere nothing happens and the answer is False.

    Buffers are mapped above M_MMAP_THRESHOLD, which older versions limit to 32 MiB, less than one activation of a large
    image. So mapping is switched off (M_MMAP_MAX = 0), and the heap is told not to shrink; neither does much alone.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # no dynamic libc, or one without the call, such as musl
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
