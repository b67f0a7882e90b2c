"""The packed format: ours and the official one are the same; nothing hostile gets through."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest.importorskip("blosc2", reason="needs the server extra")

from openmedlab.client.wire import TooLargeError, meta_text, pack, read_meta, unpack
from openmedlab.core import InputError

LIMIT = 1 << 20
TYPES = ["bool", "uint8", "int8", "int16", "uint16", "int32", "int64", "float16", "float32"]
arrays = st.sampled_from(TYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=4, min_side=0, max_side=7))
)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(arrays)
@settings(max_examples=60, deadline=None)
def test_what_goes_in_comes_out(array):
    assert same(unpack(pack(array), LIMIT), array)


@given(arrays)
@settings(max_examples=40, deadline=None)
def test_the_official_format_is_ours(array):
    official = pytest.importorskip("nnInteractive.inference.remote.serialization")
    assume(array.size)
    assert same(unpack(official.pack_array(array), LIMIT), array)
    assert same(official.unpack_array(pack(array)), array)


def test_strided_and_big_endian_arrays_are_taken():
    array = np.arange(24, dtype=">i2").reshape(2, 3, 4)[:, ::-1, ::2]
    assert np.array_equal(unpack(pack(array), LIMIT), array)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_noise_is_refused(data):
    for body in (data, b"NNIA\x01\x01" + data):
        with pytest.raises(InputError):
            unpack(body, LIMIT)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_byte_is_refused_or_changes_no_size(data):
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    good = bytearray(pack(array))
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] ^= data.draw(st.integers(1, 255))
    try:
        out = unpack(bytes(good), LIMIT)
    except InputError:
        return
    assert out.nbytes <= LIMIT


@pytest.mark.parametrize("cut", [0, 3, 8, 12, 40, -1])
def test_a_cut_body_is_refused(cut):
    with pytest.raises(InputError):
        unpack(pack(np.arange(60))[:cut], LIMIT)


def test_more_than_promised_is_refused():
    with pytest.raises(InputError):
        unpack(pack(np.arange(60)) + b"more", LIMIT)


def test_sizes_are_looked_at_before_memory_is_taken():
    huge = struct.pack("<4sBBBB", b"NNIA", 1, 1, 3, 5) + b"uint8"
    huge += struct.pack("<3q", 1 << 40, 1 << 40, 1 << 40) + struct.pack("<I", 0)
    with pytest.raises(TooLargeError):
        unpack(huge, LIMIT)
    zeros = pack(np.zeros(LIMIT + 1, np.uint8))
    assert len(zeros) < 1000
    with pytest.raises(TooLargeError):
        unpack(zeros, LIMIT)


@pytest.mark.parametrize("name", ["object", "complex64", "<U8", "V8", "datetime64"])
def test_other_types_are_refused(name):
    word = name.encode()
    body = struct.pack("<4sBBBB", b"NNIA", 1, 1, 1, len(word)) + word + struct.pack("<qI", 0, 0)
    with pytest.raises(InputError):
        unpack(body, LIMIT)


def test_meta_is_a_json_object():
    assert read_meta(meta_text({"a": [1, 2]})) == {"a": [1, 2]}
    assert read_meta(None) == {}
    for text in ("[1]", "no", "[" * 100_000, "1"):
        with pytest.raises(InputError):
            read_meta(text)
