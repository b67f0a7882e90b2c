import subprocess
import sys

import pytest


@pytest.mark.slow
def test_torchvision_is_never_imported_and_the_package_is_left_alone():
    code = (
        "import sys, torch\n"
        "sys.modules['torchvision'] = None\n"
        "from openmedlab.sam.network import build_network\n"
        "with torch.device('meta'): build_network('vit_b')\n"
        "assert not [m for m in sys.modules if m.startswith('segment_anything')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
