"""`python -m augmentor`, and the entry point of the command `augmentor`."""

import os
import signal
import sys


def main() -> None:
    """Run the command line; an interrupt exits with 130, also before a command starts and after it has ended."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _exit_interrupted)
    from augmentor.cli import main as run  # noqa: PLC0415 - takes long, and may be interrupted

    run()


def _exit_interrupted(_number: int, _frame: object) -> None:
    """End the process at once: libraries that are being imported turn other exceptions into their own."""
    sys.stdout.flush()
    sys.stderr.write("Interrupted.\n")
    sys.stderr.flush()
    os._exit(130)


if __name__ == "__main__":
    main()
