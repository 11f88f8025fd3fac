"""Collecting: questions in, records out, so that a router can be trained and profiled on one's own traffic.

Everything that was answered is on disk before the next call; a run that was ended in any way goes on where it was.

    questions    rows of a file as records without answers
    asking       one call of one member
    grading      whether an answer is right
    spending     what it may cost
    ledger       what is on disk
    lock         who is writing
    run          one run over what is missing
    collecting   collect and acollect
"""

from pyramid_core.collection.collecting import acollect, collect
from pyramid_core.collection.grading import GRADES
from pyramid_core.collection.questions import questions_of
from pyramid_core.collection.run import Collected, Progress

__all__ = ["GRADES", "Collected", "Progress", "acollect", "collect", "questions_of"]
