"""Reads the metrics of a run from `WORKDIR/metrics.jsonl`. Each line of this file is the JSON of one reported step."""

import io
import json
from typing import Any

from hmmn_jax.io.buckets import AnyPath
from hmmn_jax.io.files import bucket_errors

METRICS_FILE = "metrics.jsonl"


def read_metrics(workdir: AnyPath) -> list[dict[str, Any]]:
    """Reads the metrics of a run in the order of the file. Invalid lines, such as a truncated last line, are skipped."""
    return [line for line in map(parse_line, read_lines(workdir)) if line is not None]


def read_lines(workdir: AnyPath) -> list[bytes]:
    """Reads the lines of `metrics.jsonl` without parsing them. A line ends only at a newline, which is part of the line."""
    path = workdir / METRICS_FILE
    with bucket_errors(path):
        return list(io.BytesIO(path.read_bytes())) if path.exists() else []


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Parses a line. Returns None if the line is not a JSON object with an integer "step"."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and type(found.get("step")) is int else None
