"""Scoring and sweeps on Ray: the bytes of one process, whatever dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs the extra cluster: pip install -e '.[cluster]'")

import ray

import charnn as package
from charnn.cluster.ray_pool import MOST_TRIES, Session, run_tasks
from charnn.errors import ClusterError, TextError
from tests.cluster.test_sweep import SMALL
from tests.conftest import FABLES, REPOSITORY

pytestmark = pytest.mark.filterwarnings("ignore")

NUM_LINES = 9000
"""Five windows."""


@pytest.fixture(scope="module", autouse=True)
def _session():
    """Two workers on this machine, which import this clone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
        ray.shutdown()


@pytest.fixture
def lines():
    """A file of short lines."""
    text = "".join(f"{'ab' * (number % 7)}{'b' * (number % 5)}\n" for number in range(NUM_LINES))
    Path("lines.txt").write_text(text, encoding="utf-8")
    return "lines.txt"


@pytest.mark.parametrize("form", ["jsonl", "table"])
def test_the_output_is_that_of_one_process(charnn, line_run, lines, form):
    options = ("-m", line_run, "--format", form)
    whole = charnn("score", lines, *options, "-o", "whole", "--summary", "whole.json")
    result = charnn("score", lines, *options, "-o", "out", "--summary", "out.json", "--ray")
    assert result.status == 0, result.err
    assert Path("out").read_bytes() == Path("whole").read_bytes()
    assert Path("out.json").read_bytes() == Path("whole.json").read_bytes()
    assert result.out == ""
    said = [line for line in result.err.splitlines() if not line.startswith("charnn: scoring: ")]
    assert said == [*whole.err.splitlines(), "charnn: out: merged and removed 5 parts"]
    assert sorted(path.name for path in Path().glob("out*")) == ["out", "out.json"]
    assert ray.is_initialized()  # a session of the caller is left as it is


def test_parts_that_are_finished_are_not_done_again(charnn, line_run, lines):
    assert charnn("score", lines, "-m", line_run, "-o", "whole").status == 0
    assert charnn("score", lines, "-m", line_run, "-o", "out", "--shard", "2/3").status == 0
    result = charnn("score", lines, "-m", line_run, "-o", "out", "--ray")
    assert "out: 1 of 3 parts are finished already" in result.err
    assert Path("out").read_bytes() == Path("whole").read_bytes()


def test_the_api_scores_a_dataset(charnn, line_run, lines):
    assert charnn("score", lines, "-m", line_run, "-o", "whole", "--format", "jsonl", "--no-eos").status == 0
    progress = []
    total = package.score_dataset(lines, "out", model=line_run, on_progress=progress.append, eos=False)
    assert Path("out").read_bytes() == Path("whole").read_bytes()
    assert total.num_tokens == sum(len(line) for line in Path(lines).read_text().splitlines())
    assert progress[-1].num_done == progress[-1].num_total == NUM_LINES
    with pytest.raises(package.OptionError, match="state carry: cannot be combined with ray"):
        package.score_dataset(lines, "out", model=line_run, state="carry")
    with pytest.raises(package.OptionError, match="format: found 'table', but it must be one of jsonl"):
        package.score_dataset(lines, "out", model=line_run, format="table")


def dies_once(item):
    """Kill this worker, unless it is the second time."""
    folder, number = item
    if number == 1:
        try:
            Path(folder, "died").touch(exist_ok=False)
        except FileExistsError:
            return number
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def dies(item):
    """Kill this worker."""
    os.kill(os.getpid(), signal.SIGKILL)


def fails(item):
    """Fail as charnn does."""
    raise TextError(f"{item}: is bad")


def tasks(work, items):
    return dict(run_tasks(work, items, session=Session(2, is_own=False), name=lambda item: f"part {item}"))


def test_a_task_whose_worker_is_killed_is_done_again(tmp_path, caplog):
    caplog.set_level("INFO", logger="charnn")
    items = [(str(tmp_path), number) for number in range(4)]
    assert tasks(dies_once, items) == {item: item[1] for item in items}
    assert "its worker died (killed, or its machine is gone); it is tried again (2 of 4)" in caplog.text


def test_a_task_whose_worker_always_dies_ends_in_one_line():
    with pytest.raises(ClusterError, match=rf"part 7: its worker died {MOST_TRIES} times .*run the command again$"):
        tasks(dies, [7])


def test_an_error_of_a_worker_is_that_of_the_command():
    with pytest.raises(TextError, match=r"^book: is bad$"):
        tasks(fails, ["book"])


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_that_nothing_answers_at_is_named(charnn, line_run, lines, address):
    result = charnn("score", lines, "-m", line_run, "-o", "out", "--ray", address)
    assert result.status == 1
    assert f"--ray {address}: cannot be reached: Connection refused; start Ray there (ray start)" in result.err
    assert len(result.err.splitlines()) == 1
    assert not list(Path().glob("out*"))


def test_a_sweep_side_by_side_trains_the_same_weights(charnn):
    Path("text.txt").write_text(FABLES.read_text(encoding="utf-8")[:3000], encoding="utf-8")
    options = (*SMALL, "--hidden-size", 8)
    for folder, more in (("one", ()), ("side", ("--ray",))):
        result = charnn("sweep", "text.txt", *options, "--option", "cell=rnn,gru", "-o", folder, *more)
        assert result.status == 0, result.err
    assert [line.split()[-1] for line in result.out.splitlines()[3:]] == ["1", "1"]  # core each
    for cell in ("rnn", "gru"):
        one, side = (package.load(f"{folder}/cell-{cell}-seed-1").models[0].weights for folder in ("one", "side"))
        assert all((one[name] == side[name]).all() for name in one)


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_a_killed_driver_takes_its_workers_with_it_and_loses_no_part(charnn, line_run, lines):
    """The same command goes on with the parts that are finished."""
    text = Path(lines).read_text(encoding="utf-8") * 2
    Path(lines).write_text(text, encoding="utf-8")
    command = ["score", lines, "-m", str(line_run), "-o", "out", "--format", "tsv"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    driver = subprocess.Popen(
        [sys.executable, "-m", "charnn", *command, "--ray", "local"], env=environment, stderr=subprocess.DEVNULL
    )
    while driver.poll() is None and not list(Path().glob("out.part-*.done")):
        time.sleep(0.02)
    below = descendants(driver.pid)
    driver.kill()
    driver.wait()
    ended_by = time.monotonic() + 20
    while (workers := [pid for pid, name in below if "ray::" in name and "Agent" not in name and is_running(pid)]) and (
        time.monotonic() < ended_by
    ):
        time.sleep(0.1)
    for pid, _ in below:  # Ray's two agents notice the end of their raylet later
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
    assert not workers
    num_done = len(list(Path().glob("out.part-*.done")))
    assert 0 < num_done < 9
    result = charnn(*command, "--ray")
    assert f"out: {num_done} of 9 parts are finished already" in result.err
    assert charnn(*command[:-3], "whole", "--format", "tsv").status == 0
    assert Path("out").read_bytes() == Path("whole").read_bytes()


def descendants(pid):
    """Return the ids and command lines of the processes below another one."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    below, found = {str(pid)}, []
    for own, parent, name in rows * 4:
        if parent in below and own not in below:
            below.add(own)
            found.append((int(own), name))
    return found


def is_running(pid):
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
