"""What an expansion writes: the label table, shard records, and the files and folders of an output."""

from augmentor.outputs.description import Counts
from augmentor.outputs.judge_results import (
    NOT_BEST,
    SURPLUS,
    JudgeResults,
    Rejected,
    RowScores,
    rejected_columns,
    scores_columns,
    unpack_judged,
)
from augmentor.outputs.label_table import UNCHANGED, Keys, LabelRow, columns, rounded, seed_of
from augmentor.outputs.lineage import Lineage
from augmentor.outputs.paths import (
    OutputPaths,
    default_format,
    encoding_of,
    format_of,
    paths_of,
    planned_paths,
    refuse_file_name,
    stored_encoding,
)
from augmentor.outputs.records import RecordFolder, ShardRecord
from augmentor.outputs.report_files import evaluation_runs, is_report_image, report_image_name
from augmentor.outputs.source_files import SourceFile, refuse_changed_sources

__all__ = [
    "NOT_BEST",
    "SURPLUS",
    "UNCHANGED",
    "Counts",
    "JudgeResults",
    "Keys",
    "LabelRow",
    "Lineage",
    "OutputPaths",
    "RecordFolder",
    "Rejected",
    "RowScores",
    "ShardRecord",
    "SourceFile",
    "columns",
    "default_format",
    "encoding_of",
    "evaluation_runs",
    "format_of",
    "is_report_image",
    "paths_of",
    "planned_paths",
    "refuse_changed_sources",
    "refuse_file_name",
    "rejected_columns",
    "report_image_name",
    "rounded",
    "scores_columns",
    "seed_of",
    "stored_encoding",
    "unpack_judged",
]
