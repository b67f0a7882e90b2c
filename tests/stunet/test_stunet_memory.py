import os
import subprocess
import sys

import numpy as np
import pytest

RUN = """
import resource, sys
import numpy as np, torch
from openmedlab.core import CancelToken, Progress, Region
from openmedlab.stunet.export import NativeLabels
from openmedlab.stunet.network import Size, StuNetwork
from openmedlab.stunet.predict import Predictor
from openmedlab.stunet.window import Tiling, stream

torch.set_num_threads(1)
classes = int(sys.argv[1])
shape, patch = (160, 64, 64), (32, 32, 32)
network = StuNetwork(Size(1, (4, 4, 4, 4, 4, 4)), outputs=classes)
predictor = Predictor(network, torch.device("cpu"))
out = np.zeros((240, 96, 96), np.uint8)
keep = np.arange(classes, dtype=np.uint8)
native = NativeLabels(out, shape, None, Region.whole(shape), keep)
image = torch.randn(shape)
stream(image, Tiling.of(shape, patch), predictor, native.put, Progress(), CancelToken())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak(classes):
    command = [sys.executable, "-c", RUN, str(classes)]
    plain = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back at once
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=plain)
    return int(done.stdout)


@pytest.mark.slow
def test_twice_the_classes_cost_less_than_a_slab_more():
    classes = 120
    slab = classes * np.prod((32, 64, 64)) * 4
    assert peak(2 * classes) - peak(classes) < slab
