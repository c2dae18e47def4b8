"""nbdev_test with a limit of time for each notebook: where one takes longer, the cell that is running is named and the test ends.

    python tools/cells.py [what nbdev_test takes]

Every cell is compiled under its notebook's name and its own number, so a traceback, also the one that is printed when the time
is up, says where it is. That one is Python's faulthandler's: it needs nothing of a process that hangs in a library's code.
RESNET_COURSE_CELLS_LIMIT is the limit in seconds.
"""
import faulthandler, os, sys
from concurrent.futures.process import BrokenProcessPool

import nbdev.test
from execnb.shell import CaptureShell

LIMIT = int(os.environ.get("RESNET_COURSE_CELLS_LIMIT", 10 * 60))  # seconds: the longest was seen to take 86 where two run at once; a busy machine needs several times that
test_nb, run_cell = nbdev.test.test_nb, CaptureShell.cell


def named(shell, cell, *args, **kw):
    "Run a cell whose code is called after the notebook and the cell."
    name = f"<{shell.notebook}, cell {cell.idx_ + 1} ({cell.get('id', 'no id')})>"
    shell.compile.get_code_name = lambda *_: name
    return run_cell(shell, cell, *args, **kw)


def limited(fn, *args, **kw):
    "Test a notebook; a process in which that takes too long shows where it is and dies."
    CaptureShell.cell, CaptureShell.notebook = named, fn.name
    faulthandler.dump_traceback_later(LIMIT, exit=True, file=sys.__stderr__)
    try: return test_nb(fn, *args, **kw)
    finally: faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    import cells                                        # by its name: in a process that has tested a notebook, __main__ is that notebook's
    nbdev.test.test_nb = cells.limited
    try: nbdev.test.nbdev_test()
    except BrokenProcessPool: sys.exit(f"cells: a process died; if it says Timeout above, a notebook took more than {LIMIT} s, in the cell that stands there in <>")
