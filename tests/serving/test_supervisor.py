import subprocess
import sys

SLOW = """
import time
from multiprocessing.synchronize import Event
from project.serving.signals import exit_on_signals
from project.serving.supervisor import supervise

set_at_once = Event.set
Event.set = lambda event: (time.sleep(1), set_at_once(event))
exit_on_signals()

def work(number, started):
    started()
    print("started", flush=True)
    time.sleep(60)

supervise(2, work, lambda: print("serving", flush=True))
"""


def test_workers_that_start_side_by_side_announce_the_server_once():
    with subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        lines = [server.stdout.readline() for _ in range(3)]
        server.terminate()
    assert sorted(lines) == ["serving\n", "started\n", "started\n"]
