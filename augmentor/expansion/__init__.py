"""Expansion of a manifest: settings, plan, pipeline from source to committed shard, and the end of an output."""

from augmentor.expansion.estimate import Estimate, estimate
from augmentor.expansion.job import Expansion, plan_expansion
from augmentor.expansion.pipeline import RealMode
from augmentor.expansion.preview import write_preview
from augmentor.expansion.progress import Loads, Progress, Stage
from augmentor.expansion.run import ExpandResult, run_expansion
from augmentor.expansion.settings import ExpandSettings, RunSettings
from augmentor.expansion.shares import Share, merge, parse_share, run_share
from augmentor.expansion.stages import default_workers

__all__ = [
    "Estimate",
    "ExpandResult",
    "ExpandSettings",
    "Expansion",
    "Loads",
    "Progress",
    "RealMode",
    "RunSettings",
    "Share",
    "Stage",
    "default_workers",
    "estimate",
    "merge",
    "parse_share",
    "plan_expansion",
    "run_expansion",
    "run_share",
    "write_preview",
]
