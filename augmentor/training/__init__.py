"""Training.

Recipes, data loading and sampling, the run folder, the run itself, and its launch on several devices.
"""

from augmentor.training.launch import launch, own_device, together
from augmentor.training.launched import launched, leads
from augmentor.training.recipe import JudgeSettings, Recipe, read_recipe
from augmentor.training.run import train_run
from augmentor.training.run_folder import Judging, Sampled, Saved, Started, TrainEvent
from augmentor.training.untrained import train_config, untrained_networks

__all__ = [
    "JudgeSettings",
    "Judging",
    "Recipe",
    "Sampled",
    "Saved",
    "Started",
    "TrainEvent",
    "launch",
    "launched",
    "leads",
    "own_device",
    "read_recipe",
    "together",
    "train_config",
    "train_run",
    "untrained_networks",
]
