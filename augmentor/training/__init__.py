"""Training: recipes, data loading and sampling, the run folder, the run itself, and launch on several devices."""

from augmentor.training.best import Scored, TrainingJudge
from augmentor.training.keys import RecipeKey, descriptions, explain_key, recipe_keys
from augmentor.training.launch import is_rank_0, join_ranks, launch, local_device, world_size
from augmentor.training.methods import method_title
from augmentor.training.recipe import Recipe, read_recipe, recipe_of_run
from augmentor.training.run import train_run
from augmentor.training.run_folder import MeasuringAccuracy, Sampled, Saved, Started, TrainEvent
from augmentor.training.settings import JudgeSettings
from augmentor.training.state import train_config, untrained_networks

__all__ = [
    "JudgeSettings",
    "MeasuringAccuracy",
    "Recipe",
    "RecipeKey",
    "Sampled",
    "Saved",
    "Scored",
    "Started",
    "TrainEvent",
    "TrainingJudge",
    "descriptions",
    "explain_key",
    "is_rank_0",
    "join_ranks",
    "launch",
    "local_device",
    "method_title",
    "read_recipe",
    "recipe_keys",
    "recipe_of_run",
    "train_config",
    "train_run",
    "untrained_networks",
    "world_size",
]
