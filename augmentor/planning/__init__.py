"""From a request to a plan.

Domain specs, targets, rare combinations, and the fixed order of (row, target) pairs.
"""

from augmentor.planning.balance import BalanceRequest
from augmentor.planning.check import CheckReport, check_manifest, foresee_balance
from augmentor.planning.combinations import LEFT_ALONE, Cells, CellState, Numbers
from augmentor.planning.domains import DomainRequest, parse_domains, preview_columns
from augmentor.planning.items import Item
from augmentor.planning.plan import Plan, make_plan, refuse_other_direction
from augmentor.planning.rounds import Filling, balanced, planned_states
from augmentor.planning.targets import Mask

__all__ = [
    "LEFT_ALONE",
    "BalanceRequest",
    "CellState",
    "Cells",
    "CheckReport",
    "DomainRequest",
    "Filling",
    "Item",
    "Mask",
    "Numbers",
    "Plan",
    "balanced",
    "check_manifest",
    "foresee_balance",
    "make_plan",
    "parse_domains",
    "planned_states",
    "preview_columns",
    "refuse_other_direction",
]
