"""Files <-> `Volume` and `LabelVolume`, and sample data.

Heavy libraries are imported when a file of their kind is met, not before.
"""

from openmedlab.io.checks import GeometryWarning
from openmedlab.io.formats import FORMATS, Format, label_suffixes, volume_suffixes
from openmedlab.io.nifti import GeometryConflict
from openmedlab.io.phantom import phantom
from openmedlab.io.read import info, read_labels, read_volume
from openmedlab.io.samples import SampleUnavailable, sample, sample_names, sample_or_phantom
from openmedlab.io.write import write_labels, write_volume

__all__ = [
    "FORMATS",
    "Format",
    "GeometryConflict",
    "GeometryWarning",
    "SampleUnavailable",
    "info",
    "label_suffixes",
    "phantom",
    "read_labels",
    "read_volume",
    "sample",
    "sample_names",
    "sample_or_phantom",
    "volume_suffixes",
    "write_labels",
    "write_volume",
]
