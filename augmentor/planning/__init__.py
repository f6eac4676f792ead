"""Planning: domain specs, targets, balancing, and the fixed order of (row, target) pairs."""

from augmentor.planning.balance import BalanceRequest
from augmentor.planning.combinations import LEFT_ALONE, Cells, CellState, Numbers
from augmentor.planning.domains import MOST_COLUMNS, DomainRequest, parse_domains, preview_columns
from augmentor.planning.items import Item
from augmentor.planning.plan import Plan, make_plan, refuse_other_direction, refuse_unlabelled
from augmentor.planning.rounds import RoundPlanner, planned_states, preview_balance, with_balance
from augmentor.planning.targets import Mask, TargetGrid

__all__ = [
    "LEFT_ALONE",
    "MOST_COLUMNS",
    "BalanceRequest",
    "CellState",
    "Cells",
    "DomainRequest",
    "Item",
    "Mask",
    "Numbers",
    "Plan",
    "RoundPlanner",
    "TargetGrid",
    "make_plan",
    "parse_domains",
    "planned_states",
    "preview_balance",
    "preview_columns",
    "refuse_other_direction",
    "refuse_unlabelled",
    "with_balance",
]
