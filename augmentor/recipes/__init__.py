"""The recipes that travel with the package, found by name."""

from augmentor.recipes.shipped import find_recipe, purpose, shipped_recipes

__all__ = ["find_recipe", "purpose", "shipped_recipes"]
