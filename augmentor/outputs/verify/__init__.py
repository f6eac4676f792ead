"""Verification of an output: reads all of it again, reports damage, and drops what has to be made again."""

from augmentor.outputs.verify.output import Repaired, repair_output, verify_output
from augmentor.outputs.verify.report import Findings, Problem

__all__ = ["Findings", "Problem", "Repaired", "repair_output", "verify_output"]
