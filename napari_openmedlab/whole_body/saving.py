"""A result to a labelmap file and its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_openmedlab.layers.geometry import KEY
from napari_openmedlab.whole_body.result import Result
from napari_openmedlab.writers import write_labels
from openmedlab.core import Volume
from openmedlab.engine import manifest, write_manifest


class Saving:
    """What to write, taken on the GUI thread; `write` may run on any other.

    Parameters
    ----------
    result
        Its labels are copied, so that the user may go on.
    """

    def __init__(self, result: Result) -> None:
        data, attributes, _ = result.layer.as_layer_data_tuple()
        self._data = data.copy()
        known = dict(attributes["metadata"].get(KEY, {}))
        self._attributes = {**attributes, "metadata": {KEY: known}}
        self._volume: Volume | None = result.volume()
        self._method = result.method
        self._parameters = _parameters(result)

    def write(self, path: Path) -> Path:
        """Write labelmap and manifest; return the labelmap's path.

        Raises
        ------
        InputError
            The format is unknown or the place cannot be written.
        """
        (written,) = write_labels(str(path), self._data, self._attributes)
        if self._volume is not None:
            record = manifest(
                self._volume,
                method=self._method,
                method_version=str(self._parameters.get("version", "")),
                prompts={},
                parameters=self._parameters,
            )
            write_manifest(record, path)
        return Path(written)


def _parameters(result: Result) -> dict[str, Any]:
    names = {number: label.name for number, label in result.labels.items()}
    return {
        **result.request,
        "voxels_changed_by_hand": {
            names.get(number, str(number)): {"gained": gained, "lost": lost}
            for number, (gained, lost) in result.counts.items()
        },
    }
