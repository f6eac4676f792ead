"""Benchmarks of every stage, against a plain loop and the device's own rate."""

from augmentor.bench.measure import Measurement, Series
from augmentor.bench.run import BENCH_STAGES, BenchReport, BenchSettings, run_bench

__all__ = ["BENCH_STAGES", "BenchReport", "BenchSettings", "Measurement", "Series", "run_bench"]
