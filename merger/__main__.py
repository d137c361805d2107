"""`python -m merger`: the commands of `merger.commands`."""

import logging
import os
import sys

if __name__ == "__main__":
    # A merge multiplies no matrices: numpy's BLAS would start a thread per core only to let them spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # A log that cannot be written to, on a full disk say, is no reason to show a trace of the program.
    logging.raiseExceptions = False
    from merger.commands import main

    sys.exit(main(sys.argv[1:]))
