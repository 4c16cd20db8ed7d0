"""Does a sample depend on its own seed alone? Samples written together against the same ones written alone.

    python tests/benchmarks/sameness.py RUN [--streams 64] [--length 500]

Prints how many texts differ, how many choices were made alone because they were close, and how many texts would differ if none
were; and what that costs in speed.
"""

import argparse
import time
from pathlib import Path

from charnn.config import SampleOptions
from charnn.inference.engine import Engine
from charnn.inference.prompt import prefill
from charnn.inference.stepper import stepper_for
from charnn.sampling import stream_sampler as sampler_module
from charnn.sampling.sampler import Sampler
from charnn.sampling.stream_sampler import StreamSampler
from charnn.sampling.streams import SampleRequest
from charnn.storage.model_directory import read_model


def main() -> None:
    """Write and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--length", type=int, default=500)
    options = parser.parse_args()
    model = read_model(options.run)
    engine = Engine.of(model)
    stepper = stepper_for(engine, engine.initial_state())
    start = prefill(stepper, model.tokenizer, model.tokenizer.encode(""))
    made = SampleOptions(length=options.length)
    plans = [SampleRequest(start, seed) for seed in range(options.streams)]

    def written(chosen: list[SampleRequest]) -> tuple[list[list[int]], int, float]:
        sampler = Sampler(StreamSampler(stepper, model.tokenizer, made))
        begun = time.perf_counter()
        ids = {piece.number: piece.sample.ids for piece in sampler.generate(chosen)}
        return [ids[number] for number in sorted(ids)], sampler.num_recomputed, time.perf_counter() - begun

    alone, seconds_alone = [], 0.0
    for plan in plans:
        ids, _, seconds = written([plan])
        alone += ids
        seconds_alone += seconds
    total = sum(map(len, alone))
    together, num_decided, seconds_together = written(plans)
    sampler_module.CLOSE_NATS = 0.0
    careless, _, seconds_careless = written(plans)
    print(f"{options.streams} samples, {total:,} tokens")
    print(f"together and alone: {sum(map(list.__ne__, together, alone))} differ; {num_decided} choices were made alone")
    print(f"if none were:       {sum(map(list.__ne__, careless, alone))} differ")
    speeds = (total / seconds for seconds in (seconds_alone, seconds_together, seconds_careless))
    print("tokens/s: alone {:,.0f}, together {:,.0f}, together without care {:,.0f}".format(*speeds))


if __name__ == "__main__":
    main()
