"""A plan of a thousand million outputs: described, divided among machines, and one of its shards listed."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

from augmentor.bench.machine import peak_memory

_SCRIPT = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from augmentor.planning.domains import parse_domains
from augmentor.planning.plan import make_plan
from augmentor.expansion.shares import Share
from stargan.labels import Attribute, LabelSpace

PEAK

started = time.process_time()
space = LabelSpace(attributes=(
    Attribute(name="kind", kind="categorical", values=tuple(f"k{i}" for i in range(25))),
    Attribute(name="male"),
    Attribute(name="young"),
))
cycle = np.arange(100, dtype=np.int16)
codes = np.tile(np.stack([cycle % 25, cycle // 25 % 2, cycle // 50 % 2], axis=1), (100_000, 1))
plan = make_plan(
    codes, space=space, request=parse_domains(["all"], space), eligible=np.ones(len(codes), dtype=np.bool_),
    with_real=False, include_identity=True,
)
counts = plan.label_counts()
shards = plan.shards(1024)
share = Share(number=778, of=1000)
items = list(plan.shard(777_777, 1024))
json.dump({
    "items": len(plan), "synthetic": plan.n_synthetic,
    "kinds": [after - before for before, after in counts["kind"].values()],
    "shards": shards, "mine": share.has(777_777), "fingerprint": len(plan.fingerprint()),
    "positions": [item.position for item in items], "rows": [item.row for item in items],
    "targets": [item.target for item in items], "seconds": time.process_time() - started,
    "peak": peak_memory(),
}, sys.stdout)
""".replace("PEAK", inspect.getsource(peak_memory))


def test_a_shard_of_a_plan_of_a_thousand_million_outputs() -> None:
    told = json.loads(subprocess.check_output([sys.executable, "-c", _SCRIPT], text=True))
    # Ten million rows in each of 100 domains.
    assert (told["items"], told["synthetic"], told["fingerprint"]) == (10**9, 10**9, 64)
    assert told["kinds"] == [10**9 // 25] * 25
    assert (told["shards"], told["mine"]) == (976_563, True)
    first = 777_777 * 1024
    positions = range(first, first + 1024)
    assert told["positions"] == list(positions)
    assert told["rows"] == [position // 100 for position in positions]
    assert len({tuple(target) for target in told["targets"][:100]}) == 100
    assert told["peak"] < 1e9
    assert told["seconds"] < 5
