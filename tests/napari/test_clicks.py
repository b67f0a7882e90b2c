"""Real mouse clicks in the canvas become masks."""

import numpy as np
from conftest import ball


def test_a_click_becomes_a_mask_with_method_times_and_no_copy(desk, volume_data):
    desk.take("point+")
    desk.go_to((12, 30, 36))
    desk.click((12, 30, 36))
    desk.wait_mask()
    assert desk.mask()[12, 30, 36]
    assert desk.session.labelmap is desk.labels.data
    assert np.shares_memory(desk.session.volume.array, volume_data)
    assert "fast" in desk.widget.made_label.text()
    assert "infer" in desk.widget.times_label.text()
    assert desk.labels.metadata["openmedlab"]["made"][1]["method"] == "fast"
    assert desk.mask().sum() == ball(desk.mask().shape, (12, 30, 36)).sum()
