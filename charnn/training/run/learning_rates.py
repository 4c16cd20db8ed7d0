"""A learning rate range test on a temporary run."""

import tempfile
from dataclasses import replace
from pathlib import Path

from charnn.text.progress import Report
from charnn.training.planning.lr_range_test import Trial, range_test
from charnn.training.planning.memory import memory_kept
from charnn.training.run.create import create_run
from charnn.training.run.request import RunRequest
from charnn.training.run.session import close_text


def try_learning_rates(request: RunRequest, *, started: float, report: Report) -> tuple[str, list[Trial]]:
    """Run a learning rate range test in a temporary directory; return the name of the optimizer and the trials.

    Args:
        started: `time.monotonic()` from which the time budget counts.
        report: called with the progress of reading the text.

    Raises:
        CharnnError: for anything wrong with the request.
    """
    with tempfile.TemporaryDirectory(prefix="charnn-", ignore_cleanup_errors=True) as folder:
        session = create_run(
            Path(folder, "run"),
            request.texts,
            text_options=request.text_options,
            model_options=request.model_options,
            training_options=replace(request.training_options, ngram_order=0),
            overwrite=False,
            started=started,
            report=report,
        )
        with memory_kept(), session.trainer.workers:
            trials = list(range_test(session.trainer))
        close_text(session)
    return session.trainer.options.optimizer, trials
