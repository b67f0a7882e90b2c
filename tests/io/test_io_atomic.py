import os
import stat

import pytest

from openmedlab.core import InputError
from openmedlab.io.atomic import replacing


def test_a_device_or_pipe_is_never_replaced(tmp_path):
    pipe = tmp_path / "pipe.nii.gz"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="device or a pipe"), replacing(pipe) as temporary:
        temporary.write_bytes(b"mask")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_what_fails_halfway_leaves_the_old_file(tmp_path):
    target = tmp_path / "mask.bin"
    target.write_bytes(b"old")

    def fail():
        with replacing(target) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
