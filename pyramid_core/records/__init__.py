"""The record: one query and everything that happened to it, as one self-contained JSON object.

A trace that the project writes is such a record, and recorded answers from elsewhere are read as one; featurising,
grading and replaying are pure functions of it. Files hold one record a line, plain or gzip, and are read as streams.

- NaN is never written: a number that is not known is null. Infinities are the strings "inf" and "-inf".
- Unknown keys are kept: a record stays a dict, and nothing here removes from it.
- Records without `format`, as older sources write them, load.
"""

from pyramid_core.records.files import Record, RecordFile, read_records, write_record
from pyramid_core.records.responses import FORMAT, answer_of, query_of, response_of
from pyramid_core.records.routing import routing_judgement, routing_record, total_of
from pyramid_core.records.traces import record_to_trace, trace_to_record

__all__ = [
    "FORMAT",
    "Record",
    "RecordFile",
    "answer_of",
    "query_of",
    "read_records",
    "record_to_trace",
    "response_of",
    "routing_judgement",
    "routing_record",
    "total_of",
    "trace_to_record",
    "write_record",
]
