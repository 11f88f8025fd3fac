"""Training: from graded records to a router in a folder.

`examples` makes rows of records, `boosting` grows trees, `heldout` says what they would have said of unseen queries,
`fitting` puts a router together. xgboost is imported where trees are grown, and nowhere else.
"""

from pyramid_core.training.boosting import Growth
from pyramid_core.training.examples import Examples, Setting, examples_of, observation_of
from pyramid_core.training.fitting import OTHERS, default_features, equivalence_of, fit, level_of
from pyramid_core.training.folds import folds_of, question_key

__all__ = [
    "OTHERS",
    "Examples",
    "Growth",
    "Setting",
    "default_features",
    "equivalence_of",
    "examples_of",
    "fit",
    "folds_of",
    "level_of",
    "observation_of",
    "question_key",
]
