"""Samples: what one training or test item is, and the dataset folder that holds many."""

from mirg.samples.card import DatasetCard
from mirg.samples.folder import DatasetFolder
from mirg.samples.rejected import REJECTED_FILE, Rejection, Tally, write_rejections
from mirg.samples.schema import SCHEMA_VERSION, ImageRef, ObjectNote, Relation, Role, Sample, Target, Trajectory
from mirg.samples.tokens import refuse_for_family, refused_image
from mirg.samples.writer import Carrier, Copy, DatasetWriter, write_card

__all__ = [
    "REJECTED_FILE",
    "SCHEMA_VERSION",
    "Carrier",
    "Copy",
    "DatasetCard",
    "DatasetFolder",
    "DatasetWriter",
    "ImageRef",
    "ObjectNote",
    "Rejection",
    "Relation",
    "Role",
    "Sample",
    "Tally",
    "Target",
    "Trajectory",
    "refuse_for_family",
    "refused_image",
    "write_card",
    "write_rejections",
]
