from __future__ import annotations

import json

import numpy as np
import pytest
from oracle import Oracle

from openmedlab.core import Geometry, Volume


@pytest.fixture
def block():
    truth = np.zeros((10, 12, 14), bool)
    truth[2:8, 3:9, 3:11] = True
    return Volume(truth.astype(np.int16), Geometry.from_spacing(truth.shape), "CT", "block"), truth


@pytest.fixture
def oracle(block):
    return Oracle(block[1])


@pytest.fixture
def data_folder(tmp_path, block):
    """Two labelled volumes as NIfTI, and folders to be skipped."""
    import nibabel as nib

    for name, modality in (("a", "CT"), ("b", "MR")):
        home = tmp_path / name
        home.mkdir()
        labels = block[1].astype(np.uint8)
        labels[0, 0, :5] = 2
        for file, array in (("image", labels.astype(np.int16) * 100), ("labels", labels)):
            nib.save(nib.Nifti1Image(array.T, np.eye(4)), home / f"{file}.nii.gz")
        meta = {"name": name, "modality": modality, "labels": {"1": "block", "2": "tiny"}}
        (home / "meta.json").write_text(json.dumps(meta))
    (tmp_path / "pictures").mkdir()
    return tmp_path
