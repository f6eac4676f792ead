"""What an expansion writes: the label table, shard records, and the files and folders of an output."""

from augmentor.outputs.judged import (
    NOT_BEST,
    SURPLUS,
    Judged,
    Rejected,
    RowScores,
    rejected_columns,
    scores_columns,
    unpack_judged,
)
from augmentor.outputs.label_table import UNCHANGED, LabelRow, columns, rounded
from augmentor.outputs.lineage import Lineage
from augmentor.outputs.origins import Origin, refuse_changed
from augmentor.outputs.pages import ANSWERS, is_picture, picture_name
from augmentor.outputs.places import (
    Place,
    default_format,
    encoding_of,
    format_of,
    place_of,
    planned_place,
    stored_encoding,
)
from augmentor.outputs.records import Counts, RecordFolder, ShardRecord

__all__ = [
    "ANSWERS",
    "NOT_BEST",
    "SURPLUS",
    "UNCHANGED",
    "Counts",
    "Judged",
    "LabelRow",
    "Lineage",
    "Origin",
    "Place",
    "RecordFolder",
    "Rejected",
    "RowScores",
    "ShardRecord",
    "columns",
    "default_format",
    "encoding_of",
    "format_of",
    "is_picture",
    "picture_name",
    "place_of",
    "planned_place",
    "refuse_changed",
    "rejected_columns",
    "rounded",
    "scores_columns",
    "stored_encoding",
    "unpack_judged",
]
