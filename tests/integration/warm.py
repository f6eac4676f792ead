"""The server that forks the commands of the tests, with the whole product imported already.

Libraries that commands import inside functions are imported here, too, and the report's templates are compiled:
otherwise every command would repeat that.
"""

from __future__ import annotations

import importlib
import pkgutil

import s3fs  # noqa: F401
import torchmetrics.image  # noqa: F401
import torchvision.models  # noqa: F401
import typer.rich_utils  # noqa: F401

import augmentor
from augmentor.report.page import _environment
from tests.integration.forkserver import serve

for module in pkgutil.walk_packages(augmentor.__path__, "augmentor."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for template in _environment().list_templates(extensions=["html"]):
    _environment().get_template(template)

serve()
