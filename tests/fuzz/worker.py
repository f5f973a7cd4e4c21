"""A process that runs every n-th case and says of each, before it begins, which one it is."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import struct
import sys
import traceback
from pathlib import Path

from tests.fuzz.cases import empty, run_case

STATUS = struct.Struct("<qqq")
"""Number of the case under way, cases done, cases taken."""
_MEMORY_BYTES = 8 << 30


def main(arguments: list[str]) -> int:
    """`kind seed first end step folder status`: failures go to standard output, one JSON object a line."""
    kind, seed, first, end, step = arguments[0], *map(int, arguments[1:5])
    folder, status = Path(arguments[5]), os.open(arguments[6], os.O_RDWR)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, done, taken = STATUS.unpack(os.pread(status, STATUS.size, 0))
    for number in range(first, end, step):
        os.pwrite(status, STATUS.pack(number, done, taken), 0)
        try:
            taken += run_case(kind, seed, number, empty(folder))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what this looks for
            where = "".join(traceback.format_tb(error.__traceback__)[-3:])
            fact = {"kind": kind, "number": number, "error": f"{type(error).__name__}: {error}"[:500], "where": where}
            print(json.dumps(fact), flush=True)  # to the one who supervises
        done += 1
    os.pwrite(status, STATUS.pack(-1, done, taken), 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
