"""Data sets that are downloaded, from a server on the loopback interface."""

import gzip
import hashlib
import io
import re
import sys
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from skrigidity.datasets import _carbon_gap17, _fetch, _qm9, fetch_carbon_gap17, fetch_qm9

# Two structures in the form of the file that load-atoms has.
CARBON = b"""\
2
Lattice="20.0 0.0 0.0 0.0 15.0 0.0 0.0 0.0 15.0" Properties=species:S:1:pos:R:3:forces:R:3 \
config_type=dimer energy=-305.99288 split=train pbc="T T T"
C        0.00000000       0.00000000       0.00000000       2.07330859       0.0       0.0
C        1.30000000       0.00000000       0.00000000      -2.07330859       0.0       0.0
1
Lattice="2.0 2.0 0.0 0.0 2.0 2.0 2.0 0.0 2.0" Properties=species:S:1:pos:R:3:forces:R:3 \
config_type=bulk_amo energy=-150.5 split=test pbc="T T T"
C        0.50000000       0.00000000       0.00000000       0.0       0.25      0.0
"""
# The first three molecules of the deposit, with fewer digits; the third has Fortran exponents.
MOLECULES = {
    "dsgdb9nsd_000002.xyz": """\
4
gdb 2\t293.60975\t293.54111\t191.39397\t1.6256\t9.46\t-0.257\t0.0829\t0.3399\t26.1563\t0.034358\
\t-56.525887\t-56.523026\t-56.522082\t-56.544961\t6.316\t
N\t-0.0404260543\t 1.0241077531\t 0.0625637998\t-0.707143
H\t 0.0172574639\t 0.0125452063\t-0.0273771593\t 0.235712
H\t 0.9157893661\t 1.3587451948\t-0.0287577581\t 0.235712
H\t-0.5202777357\t 1.3435321258\t-0.7755426124\t 0.235712
1103.8733\t1684.1158\t1684.3072\t3458.7145\t3579.4394\t3579.4821
N\tN\t
InChI=1S/H3N/h1H3\tInChI=1S/H3N/h1H3
""",
    "dsgdb9nsd_000001.xyz": """\
5
gdb 1\t157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\t0.5048\t35.3641\t0.044749\
\t-40.47893\t-40.476062\t-40.475117\t-40.498597\t6.469\t
C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689
H\t 0.002150416\t-0.0060313176\t 0.0019761204\t 0.133921
H\t 1.0117308433\t 1.4637511618\t 0.0002765748\t 0.133922
H\t-0.540815069\t 1.4475266138\t-0.8766437152\t 0.133923
H\t-0.5238136345\t 1.4379326443\t 0.9063972942\t 0.133923
1341.307\t1341.3284\t1341.365\t1562.6731\t1562.7453\t3038.3205\t3151.6034\t3151.6788\t3151.7078
C\tC\t
InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4
""",
    "dsgdb9nsd_000003.xyz": """\
3
gdb 3\t799.58812\t437.90386\t282.94545\t1.8511\t6.31\t-0.2928\t0.0687\t0.3615\t19.0002\t0.021375\
\t-76.404702\t-76.401867\t-76.400922\t-76.422349\t6.002\t
O\t-0.0343604951\t 0.9775395708\t 0.0076015923\t-0.589706
H\t 0.0647664923\t 2.0572*^-2\t 0.0015346341\t 0.294853
H\t 0.8717903737\t 1.3007924048\t 0.0006931336\t 0.294853
1671.4222\t3803.6305\t3907.698
O\tO\t
InChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2
""",
}
UNCHARACTERIZED = (
    "".join(f"header {i}\n" for i in range(9))
    + "       2     N                 N                 N        \n"
    + "1 compound\n"
)


def packed_molecules():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:bz2") as archive:
        for name, text in MOLECULES.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


CONTENT = {
    "/C-GAP-17.extxyz": CARBON,
    "/dsgdb9nsd.xyz.tar.bz2": packed_molecules(),
    "/uncharacterized.txt": UNCHARACTERIZED.encode(),
}


class Server(ThreadingHTTPServer):
    """Serves ``CONTENT``; fails the next ``failures`` requests, or breaks off in the middle."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.failures = 0
        self.break_off = False
        self.encoding = None
        self.content = dict(CONTENT)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.server.failures:
            self.server.failures -= 1
            self.send_error(503)
            return
        content = self.server.content[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        if self.server.encoding:
            self.send_header("Content-Encoding", self.server.encoding)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.server.break_off else content)

    def log_message(self, *args):
        pass


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def server(monkeypatch):
    """Server in a thread, to which the addresses of all files point."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for module, constant in (
            (_carbon_gap17, "FILE"),
            (_qm9, "MOLECULES"),
            (_qm9, "UNCHARACTERIZED"),
        ):
            remote = getattr(module, constant)
            path = f"/{remote.name}"
            checksum = sha256(CONTENT[path])
            local = replace(remote, url=running.url + path, checksum=checksum)
            monkeypatch.setattr(module, constant, local)
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def remote(server):
    pytest.importorskip("pooch")
    content = CONTENT["/C-GAP-17.extxyz"]
    return _fetch.RemoteFile("file.txt", f"{server.url}/C-GAP-17.extxyz", sha256(content))


def options(folder, **changed):
    settings = {
        "download_if_missing": True,
        "n_retries": 0,
        "delay": 0.0,
        "progress": False,
        "needed_by": "fetch_something",
    }
    return _fetch.Download(folder, **(settings | changed))


# ----------------------------------------------------------------------------------- one file


def test_download_and_cached_second_call(server, remote, tmp_path):
    path = _fetch.fetch_file(remote, options(tmp_path / "new" / "folder"))
    assert path == tmp_path / "new" / "folder" / "file.txt"
    assert path.read_bytes() == CARBON
    assert len(server.requests) == 1
    assert _fetch.fetch_file(remote, options(tmp_path / "new" / "folder")) == path
    assert len(server.requests) == 1
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_wrong_checksum(server, remote, tmp_path):
    server.content["/C-GAP-17.extxyz"] = CARBON.replace(b"1.3", b"1.4")
    with pytest.raises(OSError, match="sent a file with sha256:") as caught:
        _fetch.fetch_file(remote, options(tmp_path))
    assert not isinstance(caught.value, ConnectionError)
    for part in (remote.url, remote.checksum, str(tmp_path / "file.txt"), "by hand"):
        assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_no_server(server, remote, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError, match="fetch_something could not download") as caught:
        _fetch.fetch_file(remote, options(tmp_path, n_retries=1))
    for part in (remote.url, str(tmp_path / "file.txt"), "SKRIGIDITY_DATA", "data_home"):
        assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_server_errors_are_retried(server, remote, tmp_path):
    server.failures = 3
    with pytest.raises(ConnectionError, match="503"):
        _fetch.fetch_file(remote, options(tmp_path, n_retries=2))
    assert len(server.requests) == 3
    server.failures = 2
    assert _fetch.fetch_file(remote, options(tmp_path, n_retries=2)).read_bytes() == CARBON
    assert len(server.requests) == 6


def test_retries_wait(server, remote, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(_fetch.time, "sleep", waited.append)
    server.failures = 2
    _fetch.fetch_file(remote, options(tmp_path, n_retries=5, delay=7.5))
    assert waited == [7.5, 7.5]


def test_connection_that_breaks_off_leaves_nothing(server, remote, tmp_path):
    server.break_off = True
    with pytest.raises(OSError, match="by hand"):
        _fetch.fetch_file(remote, options(tmp_path))
    assert not list(tmp_path.iterdir())


def test_interrupted_download_leaves_nothing(remote, tmp_path, monkeypatch):
    def begin(self, url, output_file, pooch, check_only=False):
        output_file.write(CARBON[:100])
        assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
        raise KeyboardInterrupt

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", begin)
    with pytest.raises(KeyboardInterrupt):
        _fetch.fetch_file(remote, options(tmp_path))
    assert not list(tmp_path.iterdir())


def test_download_that_does_not_end_is_given_up(server, remote, tmp_path, monkeypatch):
    """Before all of it is on the disk, whether the server expands it or the client does."""
    monkeypatch.setattr(_fetch, "LARGEST", 10_000)
    server.content["/C-GAP-17.extxyz"] = gzip.compress(bytes(10_000_000))
    server.encoding = "gzip"
    written = []
    count = _fetch.Bounded._count
    monkeypatch.setattr(
        _fetch.Bounded, "_count", lambda self, data: written.append(len(data)) or count(self, data)
    )
    with pytest.raises(OSError, match=f"{remote.url} is far larger than it should be"):
        _fetch.fetch_file(remote, options(tmp_path))
    assert sum(written) < 3_000_000
    assert not list(tmp_path.iterdir())


def test_bounded_file_reads_no_further_than_the_bound():
    inner = io.BytesIO(bytes(100))
    file = _fetch.Bounded(inner, "it", 50)
    assert len(file.read(20)) == 20
    with pytest.raises(OSError, match="it is far larger"):
        file.read()
    assert inner.tell() == 51
    assert len(_fetch.Bounded(io.BytesIO(bytes(50)), "it", 50).read()) == 50


def test_damaged_copy_is_replaced(server, remote, tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("something else")
    with pytest.raises(OSError, match="not the expected file"):
        _fetch.fetch_file(remote, options(tmp_path, download_if_missing=False))
    server.failures = 1
    with pytest.raises(ConnectionError), pytest.warns(UserWarning, match="not the expected file"):
        _fetch.fetch_file(remote, options(tmp_path))
    assert path.read_text() == "something else"
    with pytest.warns(UserWarning, match="downloading it again"):
        _fetch.fetch_file(remote, options(tmp_path))
    assert path.read_bytes() == CARBON


def test_nothing_is_downloaded_if_not_wanted(server, remote, tmp_path):
    with pytest.raises(OSError, match="download_if_missing=False") as caught:
        _fetch.fetch_file(remote, options(tmp_path, download_if_missing=False))
    assert str(tmp_path / "file.txt") in str(caught.value)
    assert not server.requests


def test_progress_bar(remote, tmp_path, capsys):
    pytest.importorskip("tqdm")
    _fetch.fetch_file(remote, options(tmp_path, progress=True))
    assert "100%" in capsys.readouterr().err
    (tmp_path / "file.txt").unlink()
    _fetch.fetch_file(remote, options(tmp_path))
    assert capsys.readouterr().err == ""


def test_without_pooch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    remote = _fetch.RemoteFile("file.txt", "http://127.0.0.1:9/file.txt", sha256(CARBON))
    with pytest.raises(ImportError, match=r'fetch_something.*"skrigidity\[datasets\]"'):
        _fetch.fetch_file(remote, options(tmp_path))
    assert not list(tmp_path.iterdir())
    (tmp_path / "file.txt").write_bytes(CARBON)  # placed by hand
    assert _fetch.fetch_file(remote, options(tmp_path)) == tmp_path / "file.txt"


def test_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.delenv(_fetch.DATA_HOME_VARIABLE, raising=False)
    assert options(None).folder == tmp_path / "home" / "skrigidity_data"
    assert options("~/mine").folder == tmp_path / "home" / "mine"
    monkeypatch.setenv(_fetch.DATA_HOME_VARIABLE, str(tmp_path / "variable"))
    assert options(None).folder == tmp_path / "variable"
    assert options(tmp_path / "argument").folder == tmp_path / "argument"
    assert (tmp_path / "argument").is_dir()


def test_checksums_of_git_and_hashlib(tmp_path):
    """Known values: ``git hash-object`` and ``sha256sum`` of a file with the word hello."""
    path = tmp_path / "hello.txt"
    path.write_bytes(b"hello\n")
    for checksum in (
        "git-blob:ce013625030ba8dba906f756967f9e9ca394464a",
        "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
    ):
        assert _fetch.RemoteFile("hello.txt", "", checksum).digest(path) == checksum


@pytest.mark.parametrize("file", [_carbon_gap17.FILE, _qm9.MOLECULES, _qm9.UNCHARACTERIZED])
def test_real_files_have_complete_checksums(file):
    assert file.url.startswith("https://")
    assert re.fullmatch("git-blob:[0-9a-f]{40}|sha256:[0-9a-f]{64}", file.checksum)


# -------------------------------------------------------------------------------- the data sets

FETCHERS = [(fetch_carbon_gap17, 1), (fetch_qm9, 2)]


@pytest.fixture
def needs():
    for module in ("pooch", "ase"):
        pytest.importorskip(module)


@pytest.mark.usefixtures("needs")
@pytest.mark.parametrize(("fetch", "n_files"), FETCHERS)
def test_second_call_needs_neither_server_nor_files(server, tmp_path, fetch, n_files):
    first = fetch(data_home=tmp_path)
    assert len(server.requests) == n_files
    for path in tmp_path.iterdir():
        if path.suffix != ".npz":
            path.unlink()
    second = fetch(data_home=str(tmp_path), download_if_missing=False)
    assert len(server.requests) == n_files
    np.testing.assert_array_equal(first.energies, second.energies)
    assert first.DESCR == second.DESCR


@pytest.mark.usefixtures("needs")
@pytest.mark.parametrize(("fetch", "n_files"), FETCHERS)
def test_files_may_be_placed_by_hand(server, tmp_path, monkeypatch, fetch, n_files):
    monkeypatch.setenv("SKRIGIDITY_DATA", str(tmp_path))
    with pytest.raises(OSError, match="place the file by hand"):
        fetch(download_if_missing=False)
    for path, content in CONTENT.items():
        (tmp_path / path[1:]).write_bytes(content)
    assert len(fetch(download_if_missing=False).target)
    assert not server.requests


@pytest.mark.usefixtures("needs")
@pytest.mark.parametrize(("fetch", "n_files"), FETCHERS)
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "bomb"])
def test_damaged_arrays_are_made_again(server, tmp_path, fetch, n_files, damage):
    expected = fetch(data_home=tmp_path).energies
    (kept,) = tmp_path.glob("*.npz")
    content = bytearray(kept.read_bytes())
    for i in range(200, 260):
        content[i] ^= 1
    damaged = {"cut": content[:-100], "flipped": content, "empty": b""}
    kept.write_bytes(damaged.get(damage, b""))
    if damage == "bomb":
        np.savez_compressed(kept, energies=np.zeros(10**6))
    with pytest.warns(UserWarning, match=f"{kept.name} is damaged .*made again"):
        again = fetch(data_home=tmp_path, download_if_missing=False)
    np.testing.assert_array_equal(again.energies, expected)
    fetch(data_home=tmp_path, download_if_missing=False)  # warns no more
    # Where the download is gone as well, it is fetched again.
    kept.write_bytes(b"")
    for path in tmp_path.iterdir():
        if path != kept:
            path.unlink()
    with pytest.warns(UserWarning, match="is damaged"):
        fetch(data_home=tmp_path)
    assert len(server.requests) == 2 * n_files


@pytest.mark.usefixtures("needs", "server")
def test_molecules_are_unpacked_up_to_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(_fetch, "LARGEST", 3000)
    with pytest.raises(OSError, match=r"the content of .*tar\.bz2 is far larger"):
        fetch_qm9(data_home=tmp_path)


@pytest.mark.usefixtures("needs")
@pytest.mark.parametrize(("fetch", "n_files"), FETCHERS)
def test_failures_leave_nothing_converted(server, tmp_path, fetch, n_files):
    server.failures = 1
    with pytest.raises(ConnectionError, match=f"{fetch.__name__} could not download"):
        fetch(data_home=tmp_path, n_retries=0)
    assert not list(tmp_path.iterdir())
    assert len(fetch(data_home=tmp_path, delay=0.0).target)


@pytest.mark.usefixtures("needs")
@pytest.mark.parametrize(("fetch", "n_files"), FETCHERS)
def test_columns_agree(server, tmp_path, fetch, n_files):
    data = fetch(data_home=tmp_path, return_frames=True)
    np.testing.assert_array_equal(data.target, data.energies / data.n_atoms)
    assert data.target_names == ["energy_per_atom"]
    for i, atoms in enumerate(data.frames):
        np.testing.assert_array_equal(atoms.positions, data.positions[i])
        np.testing.assert_array_equal(atoms.numbers, data.numbers[i])
        assert len(atoms) == data.n_atoms[i]
        assert atoms.calc is None
    assert "frames" not in fetch(data_home=tmp_path)
    X, y = fetch(data_home=tmp_path, return_X_y=True)
    assert data.frames == X
    np.testing.assert_array_equal(y, data.target)


@pytest.mark.usefixtures("needs", "server")
def test_carbon_gap17(tmp_path):
    carbon = fetch_carbon_gap17(data_home=tmp_path, return_frames=True)
    assert carbon.energies.tolist() == [-305.99288, -150.5]
    assert carbon.kind.tolist() == ["dimer", "bulk_amo"]
    assert carbon.split.tolist() == ["train", "test"]
    assert carbon.n_atoms.tolist() == [2, 1]
    assert carbon.positions[0].tolist() == [[0, 0, 0], [1.3, 0, 0]]
    assert carbon.forces[0][:, 0].tolist() == [2.07330859, -2.07330859]
    assert carbon.forces[1].tolist() == [[0, 0.25, 0]]
    assert carbon.cells[1].tolist() == [[2, 2, 0], [0, 2, 2], [2, 0, 2]]
    assert carbon.pbc.all()
    assert "CC BY-NC-SA" in carbon.DESCR
    last = carbon.frames[1]
    assert last.info == {"energy_dft": -150.5, "kind": "bulk_amo", "split": "test"}
    assert last.arrays["forces_dft"].tolist() == [[0, 0.25, 0]]
    assert last.cell.tolist() == carbon.cells[1].tolist()

    test = fetch_carbon_gap17(data_home=tmp_path, split="test")
    assert test.energies.tolist() == [-150.5]
    assert test.positions[0].tolist() == carbon.positions[1].tolist()
    assert test.numbers[0].tolist() == [6]


@pytest.mark.usefixtures("needs", "server")
def test_qm9(tmp_path):
    every = fetch_qm9(data_home=tmp_path, drop_uncharacterized=False, return_frames=True)
    assert every.index.tolist() == [1, 2, 3]
    assert every.characterized.tolist() == [True, False, True]
    assert every.smiles.tolist() == ["C", "N", "O"]
    assert every.numbers[0].tolist() == [6, 1, 1, 1, 1]
    assert every.positions[2][1].tolist() == [0.0647664923, 0.020572, 0.0015346341]
    assert every.properties.shape == (3, len(every.property_names)) == (3, 15)
    assert len(every.property_units) == 15
    assert every.properties[0, every.property_names.index("homo")] == -0.3877
    assert every.properties[1, every.property_names.index("Cv")] == 6.316
    assert every.frames[1].info == {"energy_u0": every.energies[1], "index": 2, "smiles": "N"}
    # -395.999 kcal/mol, as in the collections that give atomization energies
    free = sum(every.atom_energies[number] for number in every.numbers[0])
    assert every.energies[0] - free == pytest.approx(-395.999 * 0.0433641, abs=1e-3)

    kept = fetch_qm9(data_home=tmp_path)
    assert kept.index.tolist() == [1, 3]
    assert kept.positions[1].tolist() == every.positions[2].tolist()
    np.testing.assert_array_equal(kept.properties, every.properties[[0, 2]])


@pytest.mark.usefixtures("needs", "server")
def test_qm9_shows_progress_of_reading(tmp_path, capsys):
    pytest.importorskip("tqdm")
    fetch_qm9(data_home=tmp_path, progress=True)
    assert "reading molecules" in capsys.readouterr().err


@pytest.mark.parametrize("fetch", [fetch_carbon_gap17, fetch_qm9])
def test_wrong_argument_is_named(fetch):
    wrong = {
        "data_home": 3,
        "download_if_missing": "no",
        "return_frames": 2,
        "return_X_y": "yes",
        "progress": "bar",
        "n_retries": -1,
        "delay": -0.5,
    }
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"'{name}' parameter of {fetch.__name__}"):
            fetch(**{name: value})


def test_own_arguments_are_checked():
    with pytest.raises(ValueError, match="'split' parameter of fetch_carbon_gap17"):
        fetch_carbon_gap17(split="validation")
    with pytest.raises(ValueError, match="'drop_uncharacterized' parameter of fetch_qm9"):
        fetch_qm9(drop_uncharacterized="all")
