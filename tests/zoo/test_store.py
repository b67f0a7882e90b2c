"""Fetching, importing, verifying and removing weights, with a publisher on the loopback."""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import stat
import threading

import pytest
import torch

from openmedlab.core import Cancelled, CancelToken, InputError, Progress
from openmedlab.zoo import (
    LicenceError,
    ManualDownloadError,
    WeightsError,
    WeightsStore,
    build_network,
    read_checkpoint,
    weights_changed,
)


def checkpoint(network: str = "one", seed: int = 0) -> bytes:
    torch.manual_seed(seed)
    buffer = io.BytesIO()
    torch.save(build_network(network).state_dict(), buffer)
    return buffer.getvalue()


@pytest.fixture
def published(home, add_card, publisher):
    """A store, and a model ``a`` on the publisher whose licence was accepted."""
    publisher.files["a.pth"] = checkpoint()
    add_card("a", url=publisher.url("a.pth"))
    store = WeightsStore()
    store.accept_licence("a")
    return store


def left_over(store: WeightsStore) -> list[str]:
    return sorted(p.name for p in store.folder.rglob("*") if p.suffix not in (".lock", ".json"))


def test_fetched_weights_are_the_published_ones(published, publisher):
    reports = []
    path = published.fetch("a", Progress(lambda done, total, text: reports.append((done, total))))
    got = read_checkpoint(path)
    want = torch.load(io.BytesIO(publisher.files["a.pth"]), weights_only=True)
    assert all(torch.equal(got[name], want[name]) for name in want)
    assert set(got) == set(want)
    size = len(publisher.files["a.pth"])
    assert (size, size) in reports
    assert left_over(published) == ["a.safetensors", "downloads"]


def test_a_second_fetch_asks_nobody(published, publisher):
    first = published.fetch("a")
    assert published.fetch("a") == first == published.find("a")
    assert len(publisher.ranges) == 1


def test_new_weights_are_readable_by_others_as_any_new_file(published, home):
    plain = home / "plain"
    plain.touch()
    mode = stat.S_IMODE(published.fetch("a").stat().st_mode)
    assert mode == stat.S_IMODE(plain.stat().st_mode)


def test_a_broken_connection_is_taken_up_where_it_broke(published, publisher):
    publisher.break_after = [1000]
    published.fetch("a")
    assert publisher.ranges == [None, "bytes=1000-"]
    assert published.verify("a").stored.source_sha256 == sha256(publisher.files["a.pth"])


def test_after_giving_up_the_next_fetch_goes_on(published, publisher):
    publisher.break_after = [1000, 0, 0, 0]
    with pytest.raises(WeightsError, match="next try goes on"):
        published.fetch("a")
    assert left_over(published) == ["a.pth.part", "downloads"]
    published.fetch("a")
    assert publisher.ranges[-1] == "bytes=1000-"


def test_a_server_without_ranges_is_asked_for_the_whole(published, publisher):
    publisher.knows_ranges = False
    publisher.break_after = [1000]
    published.fetch("a")
    assert published.verify("a").stored.source_sha256 == sha256(publisher.files["a.pth"])


def test_parts_of_two_versions_are_never_joined(published, publisher):
    publisher.break_after = [1000, 0, 0, 0]
    with pytest.raises(WeightsError):
        published.fetch("a")
    publisher.files["a.pth"] = checkpoint(seed=1)
    published.fetch("a")
    assert published.verify("a").stored.source_sha256 == sha256(publisher.files["a.pth"])


def test_a_cancelled_fetch_keeps_what_came(published, publisher):
    cancel = CancelToken()
    progress = Progress(lambda *_: cancel.cancel())
    publisher.files["a.pth"] += bytes(3 << 20)
    with pytest.raises(Cancelled):
        published.fetch("a", progress, cancel)
    assert left_over(published) == ["a.pth.part", "downloads"]


def test_the_licence_is_asked_for_once(home, add_card, publisher):
    publisher.files["a.pth"] = checkpoint()
    add_card("a", licence="CC-BY-NC-4.0", url=publisher.url("a.pth"))
    store = WeightsStore()
    with pytest.raises(LicenceError, match=r"CC-BY-NC-4\.0 \(https://example"):
        store.fetch("a")
    assert publisher.ranges == []
    store.accept_licence("a")
    assert WeightsStore().licence_accepted("a")
    store.fetch("a")


def test_a_changed_licence_is_asked_for_again(published, add_card, publisher):
    add_card("a", licence="GPL-3.0", url=publisher.url("a.pth"))
    with pytest.raises(LicenceError, match=r"GPL-3\.0"):
        published.fetch("a")


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"size": 10**6}])
def test_a_file_other_than_published_is_deleted(published, add_card, publisher, wrong):
    add_card("a", url=publisher.url("a.pth"), **wrong)
    with pytest.raises(WeightsError, match="published"):
        published.fetch("a")
    assert left_over(published) == ["downloads"]


def test_the_first_verified_digest_is_pinned(published, publisher):
    published.fetch("a")
    published.remove("a")
    publisher.files["a.pth"] = checkpoint(seed=1)
    with pytest.raises(WeightsError, match="not the file that was published"):
        published.fetch("a")
    assert published.find("a") is None


def test_another_models_checkpoint_is_named_and_deleted(published, add_card, publisher):
    add_card("b", network="two")
    publisher.files["a.pth"] = checkpoint("two")
    with pytest.raises(WeightsError, match=r"a\.pth is a checkpoint of b, not of a"):
        published.fetch("a")
    assert left_over(published) == ["downloads"]


def test_a_missing_file_is_said_at_once(published, publisher):
    publisher.status = 404
    with pytest.raises(WeightsError, match="answered 404"):
        published.fetch("a")
    assert len(publisher.ranges) == 1


def test_a_busy_server_is_asked_again_then_given_up(published, publisher):
    publisher.status = 503
    with pytest.raises(WeightsError, match="answered 503"):
        published.fetch("a")
    assert len(publisher.ranges) == 3


def test_a_login_page_is_no_checkpoint(published, publisher):
    publisher.content_type = "text/html; charset=utf-8"
    with pytest.raises(WeightsError, match="web page instead of the file"):
        published.fetch("a")


def test_no_network_says_what_to_do(published, publisher):
    publisher.close()
    with pytest.raises(WeightsError, match=r"check the network or the proxy .* models import FILE"):
        published.fetch("a")


def test_a_model_behind_a_browser_says_how(home, add_card):
    add_card("a", page="https://example.org/drive")
    with pytest.raises(ManualDownloadError, match=r"open https://example.org/drive .* a\.pth"):
        WeightsStore().fetch("a")


def test_a_full_disk_is_seen_before_the_download(published, publisher, monkeypatch):
    usage = shutil.disk_usage(published.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(WeightsError, match="1 kB are free"):
        published.fetch("a")
    assert publisher.ranges == []


def test_a_disk_that_fills_up_keeps_the_part(published, publisher, monkeypatch):
    from openmedlab.zoo import download

    def fill_up(response, file, *rest):
        file.write(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_receive", fill_up)
    with pytest.raises(WeightsError, match="is full"):
        published.fetch("a")
    assert left_over(published) == ["a.pth.part", "downloads"]


def test_a_disk_that_fills_up_while_storing_leaves_nothing_half_written(
    published, publisher, monkeypatch
):
    from safetensors import SafetensorError
    from safetensors import torch as safetensors_torch

    save = safetensors_torch.save_file

    def fill_up(tensors, path, metadata):
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors_torch, "save_file", fill_up)
    with pytest.raises(WeightsError, match="is full"):
        published.fetch("a")
    assert left_over(published) == ["a.pth", "downloads"]
    monkeypatch.setattr(safetensors_torch, "save_file", save)
    published.fetch("a")
    assert len(publisher.ranges) == 1  # the verified download was kept


def test_two_fetches_of_one_file_download_it_once(published, publisher):
    publisher.gate.clear()
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(WeightsStore().fetch("a"))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    publisher.gate.set()
    for thread in threads:
        thread.join(20)
    assert found == [published.find("a")] * 2
    assert len(publisher.ranges) == 1


def test_a_path_given_comes_before_the_models_folder(published, tmp_path):
    mine = tmp_path / "mine.pth"
    with pytest.raises(WeightsError, match="is not a file"):
        published.find("a", mine)
    mine.write_bytes(checkpoint())
    assert published.find("a", mine) == mine


def test_a_checkpoint_put_into_the_folder_by_hand_is_found(published):
    published.folder.mkdir(exist_ok=True)
    by_hand = published.folder / "a.pth"
    by_hand.write_bytes(checkpoint())
    assert published.require("a") == by_hand
    assert published.verify("a").stored is None
    assert published.remove("a") == len(checkpoint())
    assert published.find("a") is None


def test_missing_weights_say_how_to_get_them(published):
    with pytest.raises(WeightsError, match="openmedlab models fetch a"):
        published.require("a")


def test_changed_weights_do_not_verify(published):
    path = published.fetch("a")
    assert published.verify("a").path == path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="changed since it was stored"):
        published.verify("a")


def test_remove_frees_what_was_stored(published):
    size = published.fetch("a").stat().st_size
    assert published.info("a").size == size
    assert published.remove("a") == size
    assert left_over(published) == ["downloads"]
    assert published.info("a").stored is None


def test_what_a_killed_run_left_is_removed_too(published):
    path = published.fetch("a")
    path.with_name(f".{path.name}.1-2.tmp").write_bytes(b"half")
    published.remove("a")
    assert left_over(published) == ["downloads"]


def test_a_model_being_fetched_is_not_removed(published, publisher):
    publisher.gate.clear()
    thread = threading.Thread(target=published.fetch, args=("a",))
    thread.start()
    publisher.asked.wait(10)
    with pytest.raises(WeightsError, match="is being fetched"):
        published.remove("a")
    publisher.gate.set()
    thread.join(20)
    assert published.find("a") is not None


def test_the_digest_of_stored_weights_is_remembered(published, monkeypatch):
    path = published.fetch("a")
    digest = sha256(path.read_bytes())
    assert published.sha256(path) == digest
    monkeypatch.setattr("openmedlab.zoo.store.sha256", None)
    assert published.sha256(path) == digest


def test_an_unknown_model_lists_the_known_ones(published):
    with pytest.raises(InputError, match="known: a"):
        published.fetch("nothing")


def test_damaged_records_say_which_file(published):
    (published.folder / "store.json").write_text("{")
    with pytest.raises(WeightsError, match=r"store\.json cannot be read"):
        published.list_models()


def test_proxies_of_the_environment_are_used(published, add_card, publisher, monkeypatch):
    far_away = "http://weights.example/a.pth"
    add_card("a", url=far_away)
    publisher.files[far_away] = publisher.files["a.pth"]
    monkeypatch.setenv("HTTP_PROXY", publisher.url(""))
    monkeypatch.setenv("http_proxy", publisher.url(""))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert published.fetch("a") == published.find("a")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_who_listens_hears_of_weights_that_come_and_go(published, tmp_path):
    heard: list[str] = []
    weights_changed.connect(heard.append)
    published.fetch("a")
    published.remove("a")
    by_hand = tmp_path / "mine.pth"
    by_hand.write_bytes(checkpoint())
    published.import_checkpoint(by_hand)
    weights_changed.disconnect(heard.append)
    assert heard == ["a", "a", "a"]


def test_an_unfinished_download_is_counted(published, publisher):
    publisher.break_after = [1000]
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        published.fetch("a", Progress(lambda *_: cancel.cancel()), cancel)
    assert 0 < published.unfinished("a") <= 1000
    published.fetch("a")
    assert published.unfinished("a") == 0
