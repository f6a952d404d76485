"""One process from which the commands of all test workers are forked: its imports take as long as 20 trainings."""

import os
from multiprocessing import forkserver

ADDRESS = "HELLO_LIGHTNING_FORK_SERVER"  # variable with the socket of the process that pytest itself has started


class _Shared(forkserver.ForkServer):
    """A server that runs already."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._forkserver_address = address
        _, self._forkserver_alive_fd = os.pipe()  # the server ends with the process that has started it

    def ensure_running(self) -> None:
        pass


def share() -> None:
    """Let processes that inherit this one's environment use its server."""
    os.environ[ADDRESS] = forkserver._forkserver._forkserver_address


def use_shared(address: str) -> None:
    """Use a server that another process has started."""
    if not isinstance(forkserver._forkserver, _Shared):
        forkserver._forkserver = server = _Shared(address)
        forkserver.connect_to_new_process = server.connect_to_new_process
        forkserver.ensure_running = server.ensure_running
