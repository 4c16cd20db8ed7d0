"""Training options: budget, optimizer, regularization, scheduled sampling."""

from dataclasses import dataclass
from typing import Annotated, Literal

from charnn.config.further import FurtherOptions
from charnn.config.log import LogOptions
from charnn.config.parallel import ParallelOptions
from charnn.config.regularization import RegularizationOptions
from charnn.errors import OptionError
from charnn.options import Checked, Option, refuse_unused

OptimizerName = Literal["muon", "adamw", "sgd", "nt-asgd"]
ScheduleName = Literal["linear", "cosine", "one-cycle", "exponential", "plateau", "constant"]
ForcingSchedule = Literal["linear", "exponential", "inverse-sigmoid"]
Precision = Literal["auto", "fp32", "bf16"]

DEFAULT_MINUTES = 5.0
BUDGETS = ("minutes", "steps", "epochs")

BUDGET, OPTIMIZER, TRAINING, FORCING = "Budget", "Optimizer and schedule", "Training", "Teacher forcing"


@dataclass(frozen=True, kw_only=True)
class BudgetOptions(Checked):
    """The training budget."""

    minutes: Annotated[
        float | None,
        Option(
            "Stop after this many minutes, including the time to read the text.",
            flags=("--minutes",),
            above=0,
            automatic="5, unless --steps or --epochs is given",
            panel=BUDGET,
            common=True,
        ),
    ] = None
    steps: Annotated[
        int | None, Option("Stop after this many steps.", at_least=1, automatic="no limit", panel=BUDGET, common=True)
    ] = None
    epochs: Annotated[
        float | None,
        Option("Stop after this many epochs.", above=0, automatic="no limit", panel=BUDGET),
    ] = None
    patience: Annotated[
        int,
        Option(
            "Early stopping: maximum number of evaluations without improvement; 0 disables it.",
            at_least=0,
            panel=BUDGET,
        ),
    ] = 12


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions(Checked):
    """The optimizer and its learning-rate schedule."""

    optimizer: Annotated[
        OptimizerName,
        Option(
            "Muon (matrices of the recurrent layers and of attention; AdamW for the rest, RMSProp by rows for tables of "
            "n-grams and words), AdamW, plain SGD, or SGD with weight averaging once the validation loss no longer improves.",
            panel=OPTIMIZER,
        ),
    ] = "muon"
    learning_rate: Annotated[
        float | None,
        Option(
            "Peak learning rate.",
            above=0,
            automatic="0.02; muon 0.04 up to 3,000 steps, 0.03 up to 5,000; sgd and nt-asgd 8",
            panel=OPTIMIZER,
        ),
    ] = None
    weight_decay: Annotated[
        float | None,
        Option(
            "Decoupled weight decay of the matrices, per update, scaled by the learning rate.",
            at_least=0,
            automatic="0.2; sgd and nt-asgd 0",
            panel=OPTIMIZER,
        ),
    ] = None
    schedule: Annotated[
        ScheduleName | None,
        Option(
            "Learning-rate decay from the peak: linear, cosine, one-cycle (long warmup), exponential, plateau (when the "
            "validation loss no longer improves), or constant.",
            automatic="linear; nt-asgd constant",
            panel=OPTIMIZER,
        ),
    ] = None
    warmup: Annotated[
        float | None,
        Option(
            "Fraction of the budget during which the learning rate rises to its peak.",
            at_least=0,
            below=1,
            automatic="0.02; one-cycle 0.3",
            panel=OPTIMIZER,
        ),
    ] = None
    hold: Annotated[
        float,
        Option(
            "Fraction of the budget before the learning rate starts to decay (linear, cosine, exponential).",
            at_least=0,
            below=1,
            panel=OPTIMIZER,
        ),
    ] = 0.0
    final_rate: Annotated[
        float | None,
        Option(
            "Final learning rate, as a fraction of the peak.",
            above=0,
            at_most=1,
            automatic="0.01; one-cycle 0.0001",
            panel=OPTIMIZER,
        ),
    ] = None
    clip_norm: Annotated[
        float,
        Option(
            "Maximum gradient norm; 0 disables clipping.",
            at_least=0,
            panel=OPTIMIZER,
        ),
    ] = 1.0
    clip_value: Annotated[
        float,
        Option(
            "Maximum absolute value of gradient entries, before --clip-norm; 0 disables it.",
            at_least=0,
            panel=OPTIMIZER,
        ),
    ] = 0.0


@dataclass(frozen=True, kw_only=True)
class ForcingOptions(Checked):
    """Teacher forcing and scheduled sampling."""

    teacher_forcing: Annotated[
        float,
        Option(
            "Scheduled sampling: probability of a reference input at the end of training (other inputs are sampled from the "
            "network); 1 for teacher forcing throughout.",
            at_least=0,
            at_most=1,
            panel=FORCING,
        ),
    ] = 1.0
    teacher_forcing_schedule: Annotated[
        ForcingSchedule, Option("Schedule by which that probability decays from 1 (Bengio et al. 2015).", panel=FORCING)
    ] = "linear"
    sampling_passes: Annotated[
        int,
        Option(
            "Parallel scheduled-sampling passes; the inputs of each are sampled in the previous pass.",
            at_least=1,
            panel=FORCING,
        ),
    ] = 1


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(
    ParallelOptions, FurtherOptions, LogOptions, ForcingOptions, RegularizationOptions, OptimizerOptions, BudgetOptions
):
    """All training options.

    Example:
        >>> from charnn.config import TrainingOptions
        >>> TrainingOptions(steps=100).optimizer
        'muon'
    """

    batch_size: Annotated[
        int | None,
        Option(
            "Batch size: segments of text per update.",
            at_least=1,
            automatic="32; 64 for wide layers; less for a short text",
            panel=TRAINING,
        ),
    ] = None
    bptt_length: Annotated[
        int,
        Option(
            "BPTT length: number of time steps through which gradients are backpropagated.",
            flags=("--bptt",),
            at_least=1,
            panel=TRAINING,
        ),
    ] = 128
    bptt_jitter: Annotated[
        bool,
        Option(
            "Randomize the BPTT length (5 % of updates near half), and scale the learning rate with it.",
            panel=TRAINING,
        ),
    ] = False
    carry_length: Annotated[
        int | None,
        Option(
            "Reset the hidden state after this many tokens; 0 disables resetting.",
            flags=("--carry",),
            at_least=0,
            automatic="about 512, at least two windows of attention",
            panel=TRAINING,
        ),
    ] = None
    ngram_order: Annotated[
        int | None,
        Option(
            "Order of the n-gram model that is estimated in addition to training the network; 0 for none.",
            at_least=0,
            at_most=20,
            automatic="7 (char, byte), 4 (word, subword), 20 (DNA); lower if there are too many n-grams",
            panel=TRAINING,
        ),
    ] = None
    save_every: Annotated[
        float,
        Option(
            "Seconds between checkpoints; longer if saving would take more than 5 % of the time.",
            above=0,
            panel=TRAINING,
        ),
    ] = 15.0
    slim: Annotated[
        bool,
        Option("Keep only what plain sampling and scoring need: no --resume, --novelty or --dynamic.", panel=TRAINING),
    ] = False
    seed: Annotated[int, Option("Random seed.", at_least=0, below=2**31, panel=TRAINING, common=True)] = 1
    device: Annotated[Literal["auto", "cpu", "cuda"], Option("Training device.", panel=TRAINING, common=True)] = "auto"
    precision: Annotated[
        Precision,
        Option(
            "Training precision; auto uses bf16 if the processor supports it and, with --minutes, if it is faster.",
            panel=TRAINING,
        ),
    ] = "auto"

    compile: Annotated[
        Literal["auto", "yes", "no"],
        Option(
            "Compile cells that have no fused layer in torch; auto does so if a compiler is installed and the budget is at "
            "least 10 minutes per layer.",
            panel=TRAINING,
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        """Check bounds, and refuse options that have no effect given the others."""
        super().__post_init__()
        schedule = self.schedule or ("constant" if self.optimizer == "nt-asgd" else "linear")
        decays = schedule in ("linear", "cosine", "exponential")
        refuse_unused("--hold", self.hold > 0 and not decays, "--schedule linear, cosine or exponential")
        refuse_unused(
            "--final-rate",
            self.final_rate is not None and schedule in ("plateau", "constant"),
            "a --schedule with decay",
        )
        if self.hold and self.hold < (self.warmup or 0):
            raise OptionError(f"--hold: found {self.hold:g}, but it must be at least --warmup {self.warmup:g}, or 0")
        forced = self.teacher_forcing == 1
        refuse_unused(
            "--teacher-forcing-schedule",
            forced and self.teacher_forcing_schedule != "linear",
            "--teacher-forcing below 1",
        )
        refuse_unused("--teacher-forcing", not forced and self.bptt_length == 1, "--bptt 2 or more")
        refuse_unused("--sampling-passes", forced and self.sampling_passes > 1, "--teacher-forcing below 1")
        if self.teacher_forcing == 0 and self.teacher_forcing_schedule == "exponential":
            raise OptionError("--teacher-forcing: found 0, which exponential decay never reaches; use a larger value")
