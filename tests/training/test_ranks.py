"""Several ranks: the weights, losses and checkpoints of a single process, bit for bit, and what happens when a rank ends."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from charnn.config import Architecture, TrainingOptions
from charnn.cores import available_cores
from charnn.errors import LostRankError, TrainingError
from charnn.launch import Launch, is_follower, launch
from charnn.text.vocabulary import Vocabulary
from charnn.training.batches import LaneBatches
from charnn.training.evaluation import Validation
from charnn.training.events import RolledBack
from charnn.training.learner import Learner
from charnn.training.loss import LossTotal
from charnn.training.network.dropout import RegularizationRates
from charnn.training.network.freezing import freeze
from charnn.training.network.network import Network
from charnn.training.objective import TokenNoise
from charnn.training.optim.optimizers import make_optimizers
from charnn.training.optim.schedule import Budget
from charnn.training.parallel.exchange import Exchange, GroupGradients
from charnn.training.parallel.ranks import Ranks
from charnn.training.parallel.shared_memory import shared_memory
from charnn.training.parallel.shared_update import divided
from charnn.training.parallel.workers import Workers
from charnn.training.position import TrainingPosition
from charnn.training.run.request import make_request
from charnn.training.trainer import Trainer
from tests.conftest import REPOSITORY, ramp_weights, seeded

PLAIN = Vocabulary(tuple(map(str, range(11))), (9,) * 11, boundary_id=0, unknown_id=None)
IDS = (np.arange(4000) * 7 % 10 + 1).astype(np.uint8)


class Meeting:
    """Where the ranks of a test meet, each in a thread."""

    def __init__(self, size):
        self.barrier, self.brought = threading.Barrier(size, timeout=20), [None] * size

    def bring(self, index, content):
        """Bring something, and return what all have brought."""
        self.brought[index] = content
        self.barrier.wait()
        everything = list(self.brought)
        self.barrier.wait()
        return everything


class RanksInThreads(Ranks):
    """Ranks that exchange their messages within a process; on one machine, they share the weights."""

    def __init__(self, index, meeting, is_local=True):
        self.index, self.size = index, len(meeting.brought)
        self.is_first, self._meeting = index == 0, meeting
        self.place = Launch(index, self.size, index, self.size if is_local else 1, 0, "test")

    def broadcast(self, tensor):
        return tensor.copy_(self._meeting.bring(self.index, tensor.clone())[0])

    def gather(self, tensor):
        return self._meeting.bring(self.index, tensor.clone())

    def report(self):
        self._meeting.bring(self.index, None)

    def collect(self, content):
        everything = self._meeting.bring(self.index, content)
        return everything if self.is_first else []

    def exchange(self, parts, num_sent, num_received):
        assert sum(num_sent) == len(parts)
        everything = self._meeting.bring(self.index, torch.split(parts, list(num_sent)))
        received = [of_rank[self.index] for of_rank in everything]
        assert [len(part) for part in received] == list(num_received)
        return torch.cat(received)

    def sum(self, tensor):
        return tensor.copy_(torch.stack(self.gather(tensor)).sum(dim=0))


def in_threads(size, work, is_local=True):
    """Run `work(ranks)` for each rank, all on one machine or each on its own, and return the results in order."""
    meeting, results = Meeting(size), [None] * size

    def run(index):
        try:
            results[index] = work(RanksInThreads(index, meeting, is_local))
        except BaseException as error:
            results[index] = error
            meeting.barrier.abort()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = [result for result in results if isinstance(result, BaseException)]
    if failed:
        raise next((error for error in failed if not isinstance(error, threading.BrokenBarrierError)), failed[0])
    return results


OPTIONS = {
    "batch_size": 9,
    "bptt_length": 16,
    "dropout": 0.3,
    "embedding_dropout": 0.2,
    "ngram_dropout": 0.25,
    "learning_rate": 0.01,
    "save_every": 1e9,
}


def parts(options, cell="lstm", num_lanes=None, frozen=None):
    architecture = Architecture(cell, 11, 6, 8, 2, embedding_order=3, initial_state="learned")
    network = Network(architecture, rates=RegularizationRates.of(options))
    network.load_arrays(ramp_weights(architecture))
    freeze(network, frozen, num_old_rows=6)
    batches = LaneBatches(
        IDS,
        PLAIN,
        num_lanes=num_lanes or options.batch_size,
        bptt_length=options.bptt_length,
        carry_length=48,
        seed=options.seed,
    )
    return network, make_optimizers(network, options), batches, TokenNoise(IDS, options.token_noise)


def first_rank(options, steps, validate=None, **others):
    network, optimizers, batches, noise = parts(options, **others)
    return Trainer(
        network=network,
        optimizers=optimizers,
        batches=batches,
        noise=noise,
        validate=validate,
        options=options,
        precision="fp32",
        budget=Budget(steps=steps, seconds=None),
        evaluation_interval=0.25,
        position=TrainingPosition(),
        started=time.monotonic(),
        workers=Workers(2),
    )


def follow(options, ranks, should_stop=lambda: False, **others):
    network, optimizers, batches, noise = parts(options, **others)
    learner = Learner(network, optimizers, options, "fp32", Workers())
    learner.join(ranks)
    learner.follow(batches, noise, should_stop)
    return learner.network.arrays()


def train(num_ranks, steps=10, events=None, restored=None, stops_at=None, is_local=True, **changes):
    """Return the checkpoint after some steps with several ranks, or of a process alone, and the weights of each rank."""
    others = {name: changes.pop(name) for name in ("cell", "num_lanes", "frozen") if name in changes}
    options = TrainingOptions(**{**OPTIONS, **changes})
    validate = changes.pop("validate", None) or (lambda: Validation(LossTotal(1.0, 1)))

    def work(ranks):
        if ranks is not None and not ranks.is_first:
            return follow(options, ranks, **others)
        made = first_rank(options, steps, validate, **others)
        if restored is not None:
            made.restore(*restored)
        if ranks is not None:
            made.join(ranks)
        for event in made.run(lambda: made.position.step == stops_at):
            if events is not None:
                events.append(event)
        checkpoint = made.checkpoint()
        made.learner.end()
        return checkpoint, made.network.arrays()

    if num_ranks == 1:
        checkpoint, arrays = work(None)
        return checkpoint, [arrays]
    (checkpoint, arrays), *followers = in_threads(num_ranks, work, is_local)
    return checkpoint, [arrays, *followers]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


@pytest.mark.parametrize("is_local", [True, False], ids=["shared weights", "messages"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cell": "mingru", "num_lanes": 100, "optimizer": "adamw", "token_noise": 0.1},
        {"cell": "gru", "num_lanes": 50, "clip_value": 0.01, "teacher_forcing": 0.5},
        {"optimizer": "nt-asgd", "bptt_jitter": True, "weight_drop": 0.2},
        {"schedule": "one-cycle", "num_lanes": 5},
        {"frozen": "old-rows,layer-1", "num_lanes": 50},
    ],
    ids=str,
)
def test_several_ranks_compute_what_one_process_does(changes, is_local, monkeypatch):
    monkeypatch.setattr("charnn.training.optim.optimizers.FLAT_CHUNK_SIZE", 40)  # several tasks for most parameters
    (position, tensors), _ = train(1, **changes)
    for num_ranks in (2, 3, 4):
        (other_position, other_tensors), weights = train(num_ranks, is_local=is_local, **changes)
        assert other_position.step == position.step == 10
        assert_same(tensors, other_tensors)
        assert any(name.startswith("recurrent.") for name in tensors)
        for of_rank in weights[1:]:
            assert_same(of_rank, weights[0])


@pytest.mark.parametrize("is_local", [True, False], ids=["shared weights", "messages"])
def test_a_checkpoint_of_several_ranks_is_resumed_by_any_number_of_them(is_local):
    whole, _ = train(1, steps=9, num_lanes=50)
    for before, after in [(4, 1), (1, 3), (2, 4)]:
        half, _ = train(before, steps=9, stops_at=5, num_lanes=50, is_local=is_local)
        assert half[0].step == 5
        resumed, _ = train(after, steps=9, num_lanes=50, restored=half, is_local=is_local)
        assert_same(whole[1], resumed[1])


def test_a_fast_reduce_differs_in_the_last_digits_only_and_keeps_all_ranks_equal():
    (_, exact), _ = train(1, num_lanes=100)
    (_, fast), weights = train(4, num_lanes=100, fast_reduce=True)
    for of_rank in weights[1:]:
        assert_same(of_rank, weights[0])
    differences = [np.abs(exact[name] - fast[name]).max() for name in exact if name.startswith("network.")]
    assert 0 < max(differences) < 1e-4


@pytest.mark.parametrize("is_local", [True, False], ids=["shared weights", "messages"])
def test_all_ranks_roll_back_together(is_local, monkeypatch):
    """The third step has a loss that is not finite."""
    from charnn.training import trainer

    collect = trainer.Trainer._collect_losses
    seen = []

    def failing(self, *, force):
        seen.append(self.position.step)
        return collect(self, force=force) and not (self.position.step == 3 and seen.count(3) == 1)

    monkeypatch.setattr(trainer.Trainer, "_collect_losses", failing)
    alone, together = [], []
    (_, tensors), _ = train(1, events=alone)
    seen.clear()
    (_, others), weights = train(2, events=together, is_local=is_local)
    assert_same(tensors, others)
    assert_same(*weights)
    for events in (alone, together):
        assert [(event.step, event.to_step) for event in events if isinstance(event, RolledBack)] == [(3, 0)]


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux has memory without a file")
def test_ranks_on_one_machine_map_the_same_memory():
    before = open_files()

    def work(ranks):
        memory = shared_memory(ranks, 4000)
        first, second = memory.zeros(2, 3), memory.zeros(5, dtype=torch.int64)
        if ranks.is_first:
            first += 2.5
        else:
            second += 7
        ranks.gather(torch.zeros(1))
        return first.tolist(), second.tolist(), (second.data_ptr() - first.data_ptr()) % 64

    assert in_threads(2, work) == [([[2.5] * 3] * 2, [7] * 5, 0)] * 2
    assert open_files() == before  # the memory ends with the processes


@pytest.mark.parametrize("fault", ["another machine", "no memory", "another process there"])
def test_ranks_that_cannot_share_memory_send_messages(fault, monkeypatch):
    def failing(*_):
        raise OSError(errno.ENOSYS, "not there")

    if fault == "no memory":
        monkeypatch.setattr(os, "memfd_create", failing, raising=False)
    if fault == "another process there":
        monkeypatch.setattr(os, "getpid", lambda: 1)
    assert in_threads(2, lambda ranks: shared_memory(ranks, 100), is_local=fault != "another machine") == [None, None]


def test_the_work_of_an_update_is_divided_evenly():
    assert divided([[5.0], [3.0, 3.0], [], [1.0, 1.0, 1.0]], 2) == [[0], [1, 1], [], [0, 0, 1]]
    assert divided([[1.0] * 7], 3) == [[0, 1, 2, 0, 1, 2, 0]]


def test_a_follower_that_is_asked_to_stop_stops_all():
    options = TrainingOptions(**OPTIONS)
    asked = iter([False, False, True])

    def work(ranks):
        if not ranks.is_first:
            return follow(options, ranks, lambda: next(asked, True))
        made = first_rank(options, 100)
        made.join(ranks)
        *_, last = made.run(lambda: False)
        made.learner.end()
        return last

    stopped, _ = in_threads(2, work)
    assert (stopped.reason, stopped.step) == ("interrupted", 3)


def group(seed):
    """A group's gradients of a dense parameter (3, 2), a sparse one (5, 2), and one that no group has."""
    random = seeded(seed)
    rows = torch.sparse_coo_tensor(
        torch.tensor([[seed % 5, (seed + 2) % 5]]), torch.rand(2, 2, generator=random), (5, 2), check_invariants=True
    )
    return GroupGradients(torch.rand((), generator=random), [torch.rand(3, 2, generator=random), rows.coalesce(), None])


@pytest.mark.parametrize("whole", [False, True])
def test_gradients_reduced_on_gpus_are_the_sums_of_all_groups(whole):
    """The way of GPUs, and the fast one, on the CPU: dense sums, and rows that one rank lacks."""
    parameters = [torch.zeros(3, 2), torch.zeros(5, 2), torch.zeros(1)]

    def work(ranks):
        exchange = Exchange(ranks, parameters, is_exact=False)
        own = [group(ranks.index)] if ranks.index < 2 else []
        return exchange._reduced_whole(own) if whole else exchange.combined(own, 2)

    for combined in in_threads(3, work):
        dense, sparse, absent = combined.by_parameter
        wanted = [group(0), group(1)]
        torch.testing.assert_close(sum(dense), wanted[0].gradients[0] + wanted[1].gradients[0])
        found = sum(each.to_dense() if each.is_sparse else each for each in sparse)
        torch.testing.assert_close(found, sum(each.gradients[1].to_dense() for each in wanted))
        assert absent == []
        torch.testing.assert_close(sum(combined.losses), wanted[0].loss + wanted[1].loss)


def environment(rank, size, port, **others):
    of_ranks = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {
        **os.environ,
        **{name: str(value) for name, value in of_ranks.items()},
        "PYTHONPATH": str(REPOSITORY),
        **others,
    }


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_ranks(size, *arguments):
    """Start `charnn train` as Slurm's tasks do, without torchrun."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, "-m", "charnn", "train", *map(str, arguments)],
            env=environment(rank, size, port),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


TEXT = "".join(f"The fox counts {number} and {number * 7 % 13} hens in the rain.\n" for number in range(300))
SMALL = ("--hidden-size", 8, "--embedding-size", 8, "--batch-size", 8, "--bptt", 16, "--ngram-order", 2)


def test_processes_that_train_together_write_the_model_of_a_single_one(tmp_path):
    Path("text.txt").write_text(TEXT)
    ranks = start_ranks(2, "text.txt", "--steps", 6, *SMALL, "-o", "together")
    alone = subprocess.run(
        [sys.executable, "-m", "charnn", "train", "text.txt", "--steps", "6", *map(str, SMALL), "-o", "alone"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    first, second = (rank.communicate(timeout=120)[1] for rank in ranks)
    assert [rank.returncode for rank in ranks] == [0, 0], first + second
    assert second == ""
    assert "sample from it" in first
    assert alone.returncode == 0
    for name in ("model.safetensors", "training.safetensors", "ngram.safetensors", "tokenizer.json"):
        assert Path("together", name).read_bytes() == Path("alone", name).read_bytes(), name


def test_a_wrong_text_is_reported_once_and_ends_all_ranks(tmp_path):
    Path("text.txt").write_text("")
    ranks = start_ranks(2, "text.txt", "--steps", 6, "-o", "run")
    first, second = (rank.communicate(timeout=120)[1] for rank in ranks)
    assert "text.txt: is empty" in first
    assert second == ""
    assert [rank.returncode for rank in ranks] == [1, 1]
    assert not Path("run").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
@pytest.mark.parametrize("killed", [0, 1])
def test_a_rank_that_is_killed_ends_the_others_with_one_line(tmp_path, killed):
    Path("text.txt").write_text(TEXT)
    ranks = start_ranks(2, "text.txt", "--steps", 100_000, *SMALL, "-o", "run")
    while not Path("run", "metrics.jsonl").exists():
        assert ranks[killed].poll() is None
        time.sleep(0.02)
    ranks[killed].send_signal(signal.SIGKILL)
    texts = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert ranks[1 - killed].returncode == 1
    last = texts[1 - killed].splitlines()[-1]
    assert "another of the 2 processes was lost" in last
    assert "resume with: charnn train --resume -o" in last
    assert "Traceback" not in texts[1 - killed]
    assert json.loads(Path("run", "config.json").read_text())["results"]["stopped"] is None


def test_without_a_launcher_a_process_is_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert launch() is None
    monkeypatch.setenv("RANK", "1")  # of something else
    assert not is_follower()


def test_torchrun_says_which_rank_a_process_is(monkeypatch):
    place = {
        "RANK": "3",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "node0",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_RUN_ID": "job-7",
        "TORCHELASTIC_RESTART_COUNT": "2",
    }
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    found = launch()
    assert found == Launch(rank=3, size=8, local_rank=1, local_size=2, restarts=2, job="job-7")
    assert found.num_machines == 4
    assert is_follower()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as torchrun sets it
    assert available_cores() == len(os.sched_getaffinity(0))


def test_a_follower_says_what_failed_through_the_first_rank():
    """The first rank names the failure of another, which says nothing itself."""

    class Store:
        def check(self, _keys):
            return True

        def get(self, _key):
            return json.dumps({"rank": 1, "message": "rank 1 (node2): no memory is left"}).encode()

    ranks = RanksInThreads(0, Meeting(2))
    ranks._store = Store()
    with pytest.raises(LostRankError, match=r"rank 1 \(node2\): no memory is left") as caught, ranks._explained():
        raise RuntimeError("Connection closed by peer")
    assert isinstance(caught.value, TrainingError)
    assert not caught.value.is_reported


def test_processes_that_cannot_be_connected_say_where():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "charnn", "train", str(REPOSITORY / "corpora" / "fables.txt"), "-o", "run"],
            env=environment(0, 2, port),
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert f"the 2 processes cannot be connected at 127.0.0.1:{port}" in line
    assert "MASTER_PORT" in line


@pytest.mark.parametrize(
    ("job", "restarts", "resumes"), [("job-7", "1", True), ("job-7", "0", False), ("job-8", "1", False)]
)
def test_a_restarted_job_resumes_the_run_that_it_started_and_no_other(monkeypatch, run, job, restarts, resumes):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["plan"]["job"] = "job-7"
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name, value in environment(0, 2, 29500).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", job)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)
    request = make_request(run, ["text.txt"], {"steps": 20}, overwrite=True)
    assert (request.resume, request.is_restart, request.overwrite) == (resumes, resumes, not resumes)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_waits_for_the_others_can_be_ended(rank):
    """The other one never starts."""
    command = [sys.executable, "-m", "charnn", "train", str(REPOSITORY / "corpora" / "fables.txt"), "-o", "run"]
    waiting = subprocess.Popen(command, env=environment(rank, 2, free_port()), stderr=subprocess.PIPE, text=True)
    while waiting.poll() is None and Path(f"/proc/{waiting.pid}/maps").exists():
        if "libtorch" in Path(f"/proc/{waiting.pid}/maps").read_text(encoding="utf-8"):
            break
        time.sleep(0.05)
    time.sleep(1.0)
    waiting.send_signal(signal.SIGTERM)
    waiting.communicate(timeout=30)
    assert waiting.returncode in (1, 143, -signal.SIGTERM)
