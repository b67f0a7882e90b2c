"""MONAI Label's dialect, asked as its Slicer client asks."""

from __future__ import annotations

import email
import gzip
import json
import struct

import httpx
import nibabel as nib
import numpy as np
import pytest

from openmedlab.core import Geometry, Point, Volume
from openmedlab.io import read_labels, write_volume
from openmedlab.server.run import running

SHAPE = (12, 40, 44)
AFFINE = np.array([[0.2, 0.0, 1.5, 5], [0.1, 1.6, 0.0, 6], [3.0, -0.1, -0.2, 7], [0, 0, 0, 1]])


def scan():
    array = np.full(SHAPE, -1000, np.int16)
    array[1:-1, 5:-5, 5:-5] = 40
    array[4:8, 15:25, 15:25] = 700
    noise = np.random.default_rng(0).integers(-15, 15, SHAPE)
    return Volume((array + noise).astype(np.int16), Geometry(SHAPE, AFFINE), "CT", "scan")


@pytest.fixture
def image(tmp_path):
    return write_volume(scan(), tmp_path / "scan.nii.gz")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "store"
    made.mkdir()
    for name in ("one.nii.gz", "two.nrrd"):
        write_volume(scan(), made / name)
    (made / "broken.nii.gz").write_bytes(b"no image")
    (made / "notes.txt").write_text("mine")
    (tmp_path / "secret.nii.gz").write_bytes(b"secret")
    return made


@pytest.fixture
def http(make_service, folder):
    with (
        running(make_service(datastore=folder)) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client


def open_session(http, image):
    with image.open("rb") as file:
        answer = http.put("/session/", files={"files": (image.name, file)}, data={"client_id": "x"})
    assert answer.status_code == 200
    return answer.json()["session_id"]


def infer(http, model, params, query=None, **more):
    return http.post(
        f"/infer/{model}", params=query or {}, data={"params": json.dumps(params)}, **more
    )


def parts(answer, tmp_path):
    """Return the parameters and the labels in a form."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    found = {
        part.get_param("name", header="content-disposition"): part
        for part in email.message_from_bytes(head + answer.content).get_payload()
    }
    file = tmp_path / found["image"].get_filename()
    file.write_bytes(found["image"].get_payload(decode=True))
    return json.loads(found["params"].get_payload(decode=True)), read_labels(file)


def test_info_offers_segmentation_and_deepgrow(http):
    info = http.get("/info/").json()
    assert info["models"]["cubes"]["type"] == "deepgrow"
    assert info["models"]["builtin-tissues"]["type"] == "segmentation"
    assert info["models"]["builtin-tissues"]["labels"]["bone"] == 5
    assert set(info["models"]) == {"cubes", "builtin-tissues"}
    assert "bone" in info["labels"]
    assert info["datastore"]["total"] == 3
    assert http.get("/auth/").json()["enabled"] is False


def test_whole_body_by_session(http, image, tmp_path):
    session = open_session(http, image)
    assert http.get(f"/session/{session}").json()["expiry"] == 3600
    query = {"image": "", "session_id": session}
    words = {"result_extension": ".nrrd", "result_dtype": "uint8"}
    params, labels = parts(infer(http, "builtin-tissues", words, query), tmp_path)
    assert params["label_names"]["bone"] == 5
    assert set(params["latencies"]) == {"queue", "prepare", "infer", "write"}
    assert labels.geometry.almost_equal(scan().geometry, 1e-3)
    assert (labels.array[5, 20, 20], labels.array[0, 0, 0]) == (5, 0)
    assert http.delete(f"/session/{session}").status_code == 200
    assert http.get(f"/session/{session}").status_code == 404
    assert infer(http, "cubes", words, query).status_code == 404


def test_clicks_are_i_j_k_of_the_file(http, image, cubes, tmp_path):
    session = open_session(http, image)
    words = {
        "foreground": [[20, 18, 6]],
        "background": [[21, 18, 6]],
        "label": "liver",
        "result_extension": ".nii.gz",
    }
    answer = infer(http, "cubes", words, {"session_id": session})
    params, labels = parts(answer, tmp_path)
    assert cubes.seen[-1][0] == (Point((6, 18, 20)), Point((6, 18, 21), False))
    assert params["label_names"] == {"liver": 1}
    assert labels.array[6, 18, 20] == 1
    assert labels.array[6, 18, 21] == 0
    position = nib.affines.apply_affine(nib.load(image).affine, (20, 18, 6)) * (-1, -1, 1)
    assert labels.geometry.world_to_index(position) == pytest.approx((6, 18, 20), abs=1e-3)


def test_box_label_sent_along_and_the_other_outputs(http, cubes, tmp_path, image):
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:4, 10:14, 10:14] = 1
    label = write_volume(Volume(mask, Geometry(SHAPE, AFFINE)), tmp_path / "mask.nii.gz")
    with label.open("rb") as first, image.open("rb") as second:
        answer = infer(
            http,
            "cubes",
            {"roi": [10, 14, 11, 15, 5, 7]},
            {"output": "json"},
            files={"label": ("mask.nii.gz", first), "file": ("scan.nii.gz", second)},
        )
    assert answer.json()["label_names"] == {"object": 1}
    start, box = cubes.seen[-1][0]
    assert np.array_equal(start.array(Geometry(SHAPE, AFFINE).region), mask != 0)
    assert (box.lower, box.upper) == ((5, 11, 10), (7, 15, 14))
    answer = infer(
        http, "cubes", {"foreground": [[20, 18, 6]]}, {"image": "two", "output": "image"}
    )
    (tmp_path / "answer.nrrd").write_bytes(answer.content)
    assert read_labels(tmp_path / "answer.nrrd").array.sum() == 125


def test_the_datastore_reads_its_folder_and_keeps_labels(http, folder, image):
    everything = http.get("/datastore/", params={"output": "all"}).json()["objects"]
    assert set(everything) == {"one", "two", "broken"}
    assert everything["one"]["image"]["ext"] == ".nii.gz"
    got = http.get("/datastore/image", params={"image": "one"})
    assert got.content == (folder / "one.nii.gz").read_bytes()
    mask = write_volume(
        Volume(np.ones(SHAPE, np.uint8), Geometry(SHAPE, AFFINE)), image.parent / "m.nii.gz"
    )
    with mask.open("rb") as file:
        saved = http.put(
            "/datastore/label", params={"image": "one"}, files={"label": ("x.nii.gz", file)}
        )
    assert saved.json() == {"image": "one", "label": "one"}
    assert (folder / "labels" / "final" / "one.nii.gz").read_bytes() == mask.read_bytes()
    got = http.get("/datastore/label", params={"label": "one", "tag": "final"})
    assert got.content == mask.read_bytes()
    assert "one.nii.gz" in got.headers["content-disposition"]
    assert http.get("/datastore/").json()["completed"] == 1
    with image.open("rb") as file:
        added = http.put("/datastore/", params={"image": "new"}, files={"file": ("a.nii.gz", file)})
    assert added.json() == {"image": "new"}
    assert (folder / "new.nii.gz").exists()


@pytest.mark.parametrize(
    "name", ["../secret", "..%2fsecret", "/etc/passwd", "labels/../../secret", "..", ".", "one\0"]
)
def test_nobody_leaves_the_datastore(http, folder, image, name):
    assert http.get("/datastore/image", params={"image": name}).status_code == 404
    assert http.get("/datastore/label", params={"label": name}).status_code == 404
    assert http.get("/datastore/label", params={"label": "one", "tag": name}).status_code == 404
    before = sorted(p for p in folder.parent.rglob("*") if p != image)
    with image.open("rb") as file:
        refused = [
            http.put("/datastore/", params={"image": name}, files={"file": (name, file)}),
            http.put(
                "/datastore/label",
                params={"image": "one", "tag": name},
                files={"label": (name, file)},
            ),
            infer(http, "builtin-tissues", {}, {"image": name}),
        ]
    assert {r.status_code for r in refused} <= {400, 404}
    assert sorted(p for p in folder.parent.rglob("*") if p != image) == before


def test_a_small_file_that_claims_a_huge_image_is_refused(http, tmp_path):
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 30_000, 30_000, 30_000, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    bomb = gzip.compress(bytes(header) + b"\0" * 5000)
    answer = http.put("/session/", files={"files": ("bomb.nii.gz", bomb)})
    assert answer.status_code == 413
    answer = http.put("/session/", files={"files": ("noise.nrrd", b"not an image")})
    assert answer.status_code == 400


def test_batch_labels_what_can_be_labelled(http, folder):
    assert http.get("/batch/infer").status_code == 404
    assert http.post("/batch/infer/cubes").status_code == 404
    done = http.post("/batch/infer/builtin-tissues", params={"run_sync": True}).json()
    assert done["status"] == "ERROR"
    assert sum("broken" in row["message"] for row in done["details"]) == 1
    made = sorted(p.name for p in (folder / "labels" / "original").iterdir())
    assert made == ["one.nii.gz", "two.nii.gz"]
    assert (read_labels(folder / "labels" / "original" / "two.nii.gz").array == 5).any()
    assert http.get("/batch/infer").json()["id"] == done["id"]
    assert http.get("/batch/infer", params={"check_if_running": True}).status_code == 404
    assert http.delete("/batch/infer").json()["status"] == "ERROR"


def test_bad_requests_are_sentences(http, image):
    session = {"session_id": open_session(http, image)}
    cases = [
        ("cubes", {}, session, 400),
        ("cubes", {"foreground": [[1, 2]]}, session, 400),
        ("cubes", {"foreground": [[1000, 2, 3]]}, session, 400),
        ("cubes", {"foreground": 7}, session, 400),
        ("cubes", {"roi": [1, 2, 3]}, session, 400),
        ("cubes", [], session, 400),
        ("cubes", {"result_extension": ".exe"}, session, 400),
        ("nothing", {"foreground": [[1, 2, 3]]}, session, 404),
        ("builtin-tissues", {"classes": ["wing"]}, session, 400),
        ("builtin-tissues", {}, {}, 400),
    ]
    for model, params, query, status in cases:
        answer = infer(http, model, params, query)
        assert (answer.status_code, model, params) == (status, model, params)
        assert answer.json()["detail"].endswith(".")


def test_logging_in_with_the_token_as_password(make_service):
    with running(make_service(token="secret")) as address:
        assert httpx.get(f"{address}/auth/").json()["enabled"] is True
        assert httpx.get(f"{address}/info/").status_code == 401
        wrong = {"username": "a", "password": "b"}
        assert httpx.post(f"{address}/auth/token", data=wrong).status_code == 401
        right = {"username": "a", "password": "secret"}
        token = httpx.post(f"{address}/auth/token", data=right).json()["access_token"]
        shown = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{address}/auth/token/valid", headers=shown).status_code == 200
        assert httpx.get(f"{address}/auth/token/valid").status_code == 401
        assert httpx.get(f"{address}/info/", headers=shown).status_code == 200
