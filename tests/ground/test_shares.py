"""A process that shares its machine with others like it."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, threading
from mlx_prune import shares
shares.take_turns()
found = []
thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
thread.start()
thread.join()
print(*found, os.sched_getscheduler(0), os.SCHED_BATCH)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are let alone")
def test_no_thread_stops_another_of_a_process_that_takes_turns():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    of_thread, of_process, batch = done.stdout.split()
    assert of_thread == of_process == batch
