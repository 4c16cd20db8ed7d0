import subprocess
import sys
from pathlib import Path

import pytest

from charnn.errors import StorageError
from charnn.storage.locking import exclusive

HOLD = "import pathlib, sys, time; from charnn.storage.locking import exclusive\nwith exclusive(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_a_directory_is_kept_to_one_process_and_a_killed_one_is_no_obstacle(tmp_path):
    target = tmp_path / "runs" / "a"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(StorageError) as error, exclusive(target):
                pass
        finally:
            other.kill()
    assert str(error.value) == (
        f"{target}: another charnn is training here; wait for it, or name another directory with -o"
    )
    with exclusive(target):
        assert [path.name for path in target.parent.iterdir()] == [".a.charnn-lock"]
    assert not list(target.parent.iterdir())


def test_a_lock_file_that_cannot_be_removed_while_it_is_open_is_removed_afterwards(tmp_path, monkeypatch):
    real, refusals = Path.unlink, []

    def refuse_once(self, *, missing_ok=False):
        if not refusals:
            refusals.append(self)
            raise PermissionError(13, "the file is in use", str(self))
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse_once)
    with exclusive(tmp_path / "a"):
        pass
    assert refusals
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_block_is_its_own(tmp_path):
    with pytest.raises(FileNotFoundError), exclusive(tmp_path / "a"):
        (tmp_path / "nothing").stat()
