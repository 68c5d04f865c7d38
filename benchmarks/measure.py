"""How things are measured here: interleaved rounds, medians, and the peak of memory that a call asks for."""

import os
import time
import warnings
from collections.abc import Callable, Mapping

# The profiler's own remarks, of which it makes two a call; read when PyTorch is first imported.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

Call = Callable[[], object]
LEAST_ROUNDS, MOST_ROUNDS = 5, 60
TURN = 0.02  # seconds that a cheap call is repeated for, so that what an expensive one left behind does not count


def seconds(call: Call, repeats: int = 1) -> float:
    """Seconds of one call, as the mean over so many; a CUDA device has finished when the clock stops.

    Calls that are repeated are warmed up by one that does not count: an expensive call before them leaves caches cold.
    """
    if repeats > 1:
        call()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def interleaved(calls: Mapping[str, Call], budget: float) -> dict[str, np.ndarray]:
    """Seconds of every call in every round.

    All calls take their turn in every round, so that whatever else the machine does hits them alike and a round's
    ratios stay fair. A cheap call is repeated within its turn.

    Args:
        calls: what to time, by name.
        budget: seconds to spend, within 5 to 60 rounds.
    """
    for call in calls.values():
        call()  # first calls pay for caches and allocations
    repeats = {name: max(1, min(200, round(TURN / seconds(call)))) for name, call in calls.items()}
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    start = time.perf_counter()
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and time.perf_counter() - start > budget:
            break
        for name, call in calls.items():
            rounds[name].append(seconds(call, repeats[name]))
    return {name: np.array(values) for name, values in rounds.items()}


def median_interval(values: np.ndarray, draws: int = 2000) -> tuple[float, float, float]:
    """Median and its 95 % bootstrap interval over rounds."""
    medians = np.median(np.random.default_rng(0).choice(values, (draws, len(values))), axis=1)
    return float(np.median(values)), float(np.quantile(medians, 0.025)), float(np.quantile(medians, 0.975))


def peak_bytes(call: Call) -> int:
    """The most memory that a call holds beyond what was there before, in bytes, from every single allocation."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the profiler's own remarks
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
            call()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(max(0, held.max(initial=0)))
