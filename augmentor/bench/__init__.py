"""Benchmarks of every stage, beside a plain loop and beside the device."""

from augmentor.bench.figures import Figure, Series
from augmentor.bench.run import BENCH_STAGES, BenchSettings, BenchStage, Report, run_bench
from augmentor.bench.suites import Judged, Suite, Target

__all__ = [
    "BENCH_STAGES",
    "BenchSettings",
    "BenchStage",
    "Figure",
    "Judged",
    "Report",
    "Series",
    "Suite",
    "Target",
    "run_bench",
]
