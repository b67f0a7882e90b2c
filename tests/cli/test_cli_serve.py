import sys


def test_without_the_server_extra_it_says_what_to_install(monkeypatch, cli):
    for name in ("openmedlab.server.run", "openmedlab.server.app"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    told = cli("serve", "--port", "0")
    assert told.code == 2
    assert "pip install 'napari-openmedlab[server]'" in " ".join(told.err.split())
