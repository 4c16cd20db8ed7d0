"""Runs charnn on Linux as it would fare on Windows, which refuses what Linux allows.

python tests/windows_like.py '[["train", "text.txt"], ["info"]]'     runs commands one after the other, until one fails

What is in use is refused to everybody in this process. What Windows has not (modules, functions, signals, directories that can
be opened) is hidden from charnn's own modules only: on Linux typer, torch and filelock use some of it, on Windows they do without.
"""

import builtins
import json
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ABSENT_MODULES = {
    *("fcntl", "grp", "pwd", "pty", "resource", "spwd", "syslog", "termios", "tty", "curses", "readline"),
    "posix",
}
ABSENT_NAMES = {
    "os": {
        *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "fchmod", "fchown", "fork", "forkpty"),
        *("getgid", "geteuid", "getloadavg", "getpgid", "getuid", "killpg", "mkfifo", "nice", "pread", "pwrite"),
        *("posix_fadvise", "posix_fallocate", "register_at_fork", "sched_getaffinity", "sched_setaffinity", "setsid"),
        *("statvfs", "sync", "sysconf", "uname", "wait3", "wait4"),
    },
    "signal": {
        *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP"),
        *(
            "SIGUSR1",
            "SIGUSR2",
            "SIGWINCH",
            "SIGXFSZ",
            "alarm",
            "pause",
            "pthread_kill",
            "pthread_sigmask",
            "setitimer",
        ),
    },
    "time": {"clock_gettime", "pthread_getcpuclockid", "tzset"},
    "sys": set(),
}


class LimitedModule(ModuleType):
    """A module as it is on Windows: without some names."""

    def __init__(self, real: ModuleType, absent: set[str], **different: Any) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(_real=real, _absent=absent, **different)

    def __getattr__(self, name: str) -> Any:
        if name in self._absent:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(self._real, name)


def open_no_directory(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """Open a file as `os.open` does on Windows."""
    if Path(os.fsdecode(path)).is_dir():
        raise PermissionError(13, "Permission denied", os.fsdecode(path))
    return os.open(path, flags, mode, dir_fd=dir_fd)


def hide_what_windows_lacks() -> None:
    """Let charnn's modules import only what there is on Windows too."""
    real_import = builtins.__import__
    different: dict[str, dict[str, Any]] = {"sys": {"platform": "win32"}, "os": {"open": open_no_directory}}
    limited = {
        name: LimitedModule(real_import(name), absent, **different.get(name, {}))
        for name, absent in ABSENT_NAMES.items()
    }

    def limited_import(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if str((globals or {}).get("__name__")).split(".")[0] == "charnn":
            if name.split(".")[0] in ABSENT_MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}")
            if name in limited:
                return limited[name]
        return real_import(name, globals, locals, fromlist, level)

    builtins.__import__ = limited_import


def open_files() -> Iterator[str]:
    """Yield the files that this process has open or mapped into memory."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            yield str(entry.readlink())
        except FileNotFoundError:  # the one that the directory itself was read with
            continue
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as maps:
        yield from (line.rstrip("\n").split(maxsplit=5)[5] for line in maps if len(line.split(maxsplit=5)) == 6)


def refuse_in_use(path: Any) -> None:
    """Raise PermissionError where a file is in use, or one in a directory."""
    real = os.path.realpath(os.fsdecode(path))
    for used in open_files():
        if used == real or used.startswith(real + os.sep):
            raise PermissionError(13, f"The process cannot access the file, {used} is in use", os.fsdecode(path))


def refuse_what_windows_refuses() -> None:
    """Let the system refuse what Windows refuses, whoever asks."""
    real_rename, real_replace, real_unlink, real_rmdir = os.rename, os.replace, os.unlink, os.rmdir

    def rename(source: Any, target: Any, **options: Any) -> None:
        refuse_in_use(source)
        if os.path.lexists(target):
            raise FileExistsError(17, "Cannot create a file when that file already exists", os.fsdecode(target))
        real_rename(source, target, **options)

    def replace(source: Any, target: Any, **options: Any) -> None:
        refuse_in_use(source)
        refuse_in_use(target)
        if Path(os.fsdecode(target)).is_dir():
            raise PermissionError(13, "Access is denied", os.fsdecode(target))
        real_replace(source, target, **options)

    def refusing_in_use(remove: Callable[..., None]) -> Callable[..., None]:
        def checked(path: Any, **options: Any) -> None:
            refuse_in_use(path)
            remove(path, **options)

        return checked

    os.rename, os.replace = rename, replace  # type: ignore[assignment]
    os.unlink = os.remove = refusing_in_use(real_unlink)  # type: ignore[assignment]
    os.rmdir = refusing_in_use(real_rmdir)  # type: ignore[assignment]
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # it goes through directories that it opens


def main(commands: list[list[str]]) -> None:
    """Run charnn's commands, until one does not end as it should."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    hide_what_windows_lacks()
    refuse_what_windows_refuses()
    warnings.filterwarnings("error", category=EncodingWarning, module="charnn")
    from charnn.cli.main import main as charnn

    for command in commands:
        try:
            charnn(command)
        except SystemExit as end:
            sys.stdout.flush()
            if end.code not in (0, None):
                sys.exit(f"charnn {' '.join(command)}: ended with {end.code}")


if __name__ == "__main__":
    sys.path[:] = [place for place in sys.path if Path(place) != Path(__file__).parent]
    main(json.loads(sys.argv[1]))
