"""Signals that arrive during a call."""
import contextlib
import signal
import threading
import time


@contextlib.contextmanager
def signals(handler, every=0.05, after=0.05):
    """Sends a signal to this thread repeatedly, with ``handler`` installed."""
    done = threading.Event()
    main = threading.get_ident()

    def send():
        pause = after
        while not done.wait(pause):
            signal.pthread_kill(main, signal.SIGUSR1)
            pause = every

    before = signal.signal(signal.SIGUSR1, lambda number, frame: handler())
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        done.set()
        while thread.is_alive():  # the handler may raise here too
            with contextlib.suppress(BaseException):
                thread.join()
        with contextlib.suppress(BaseException):
            time.sleep(0)
        signal.signal(signal.SIGUSR1, before)


class Once:
    """Raises once."""

    def __init__(self, error):
        self.error = error
        self.raised = 0

    def __call__(self):
        if not self.raised:
            self.raised += 1
            raise self.error
