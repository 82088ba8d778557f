"""A tar, a Parquet table and shards in a folder as sources: the rules of a ZIP hold for them too."""

from __future__ import annotations

import builtins
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lorasmith.datasets.archive import open_source
from lorasmith.datasets.layouts.tabular import need_pyarrow
from lorasmith.datasets.source import Entry, FolderSource, Limits, RefusedError, Source
from lorasmith.datasets.store import DatasetStore
from lorasmith.datasets.tar import TarSource
from lorasmith.errors import EnvironmentProblem, InputError
from tests.datasets.dataset_pictures import jpeg, png, snapshot, write_folder

Member = tuple[str, bytes] | tarfile.TarInfo


def write_tar(path: Path, members: list[Member], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member, io.BytesIO(b"\0" * member.size))
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def rules(path: Path, limits: Limits | None = None) -> dict[str, str]:
    source = open_source(path, limits or Limits())
    entries, fates = source.scan()
    source.close()
    return {entry.path: "entry" for entry in entries} | {fate.path: fate.rule for fate in fates}


def read(source: Source, path: str) -> bytes:
    entry = next(entry for entry in source.scan()[0] if entry.path == path)
    return b"".join(source.chunks(entry))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_is_imported_however_it_is_packed(mode: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "zibs.bin", [("a.png", png(1)), ("a.txt", b"ein zib"), ("b.jpg", jpeg(2))], mode)
    before = snapshot(tmp_path)
    version = DatasetStore(tmp_path / "home").import_source(path)
    assert [(item.name, item.caption) for item in version.items] == [("a.png", "ein zib"), ("b.jpg", "")]
    assert before.items() <= snapshot(tmp_path).items()


def test_every_trick_of_a_tar_is_a_fate(tmp_path: Path) -> None:
    members: list[Member] = [
        ("../out.png", png()),
        ("/etc/abs.png", png()),
        ("C:\\win\\x.png", png()),
        ("good/a.png", png()),
        ("good/a.png", png(2)),
        special("good/link.png", tarfile.SYMTYPE, "/etc/passwd"),
        special("good/hard.png", tarfile.LNKTYPE, "good/a.png"),
        special("good/pipe.png", tarfile.FIFOTYPE),
        special("good/device.png", tarfile.CHRTYPE),
        special("good", tarfile.DIRTYPE),
        ("inner.zip", b"PK"),
        ("__MACOSX/._a.png", b"x"),
    ]
    found = rules(write_tar(tmp_path / "x.tar", members))
    assert found == {
        "../out.png": "unsafe_path",
        "/etc/abs.png": "unsafe_path",
        "C:\\win\\x.png": "unsafe_path",
        "good/a.png": "duplicate",
        "good/link.png": "link",
        "good/hard.png": "link",
        "good/pipe.png": "special_file",
        "good/device.png": "special_file",
        "inner.zip": "nested_archive",
        "__MACOSX/._a.png": "system_file",
    }


def test_a_tar_bomb_is_refused_while_it_is_listed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "bomb.tar.gz", [("a.png", b"\0" * 12_000_000)], "w:gz")
    with pytest.raises(InputError, match="unpacks to more than 200 times"):
        open_source(path, Limits()).scan()


def test_limits_hold_for_members(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.png", b"\0" * 5000), ("b.png", b"")])
    with pytest.raises(InputError, match="more than 1 files"):
        open_source(path, Limits(members=1)).scan()
    with pytest.raises(RefusedError, match="is larger than"):
        read(open_source(path, Limits(file_bytes=4000)), "a.png")


def test_a_tar_that_ends_between_two_files_is_cut_off(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tar", [("a.png", b"a" * 512), ("b.png", b"b" * 512)]).read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[:1024])
    with pytest.raises(InputError, match="is cut off"):
        open_source(tmp_path / "x.tar", Limits()).scan()


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_cut_tar_is_damaged(keep: float, tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tar", [("a.png", png(1) * 40), ("b.png", png(2) * 40)], "w:gz").read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises((InputError, RefusedError), match=r"damaged|cannot be read|gzip"):
        source = TarSource(tmp_path / "x.tar", Limits())
        for entry in source.scan()[0]:
            b"".join(source.chunks(entry))


def test_a_gzip_of_something_else_is_still_named(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "x.gz").write_bytes(gzip.compress(b"no tar at all"))
    with pytest.raises(InputError, match="gzip archive"):
        open_source(tmp_path / "x.gz", Limits())


# Parquet


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pyarrow, parquet = need_pyarrow()
    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema([("image", picture), ("text", pyarrow.string())])
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path, row_group_size=2)
    return path


def test_pictures_of_a_parquet_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows: list[dict[str, Any]] = [
        {"image": {"bytes": png(1), "path": None}, "text": "one"},
        {"image": {"bytes": jpeg(2), "path": "sub/b.png"}, "text": "two"},
        {"image": {"bytes": png(3), "path": "../../x.png"}, "text": "three"},
        {"image": {"bytes": jpeg(4), "path": "sub/b.jpg"}, "text": None},
        {"image": {"bytes": None, "path": "elsewhere.png"}, "text": "five"},
        {"image": None, "text": "six"},
    ]
    source = open_source(write_parquet(tmp_path / "x.parquet", rows), Limits())
    entries, fates = source.scan()
    pictures = [entry for entry in entries if entry.kind == "image" and entry.path != "metadata.jsonl"]
    assert [entry.path for entry in pictures] == ["000000.png", "sub/b.jpg", "000002.png", "sub/b-3.jpg"]
    assert [b"".join(source.chunks(entry)) for entry in pictures] == [png(1), jpeg(2), png(3), jpeg(4)]
    assert "elsewhere.png" in {fate.path for fate in fates}
    table = b"".join(source.chunks(Entry("metadata.jsonl", "caption", 0, None)))
    assert table.splitlines()[1] == b'{"text": "two", "file_name": "sub/b.jpg"}'
    source.close()


def test_parquet_without_pictures_or_cut_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pyarrow, parquet = need_pyarrow()
    parquet.write_table(pyarrow.table({"text": ["a"]}), tmp_path / "text.parquet")
    with pytest.raises(InputError, match="no column with pictures"):
        open_source(tmp_path / "text.parquet", Limits())
    whole = (tmp_path / "text.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged Parquet"):
        open_source(tmp_path / "cut.parquet", Limits())


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest, **more)

    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(EnvironmentProblem, match=r"lorasmith\[parquet\]"):
        open_source(tmp_path / "set" / "x.parquet", Limits())
    assert rules(tmp_path / "set") == {"x.parquet": "needs_extra"}


# Archives in a folder


def test_shards_and_a_bundle_are_read_where_they_lie(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("0001.png", png(3))
        archive.writestr("../0002.png", png(4))
    packed = (tmp_path / "z.zip").read_bytes()
    folder = write_folder(
        tmp_path / "set",
        {"own.png": png(1), "x_processed_images.zip": packed, "other.zip": packed, "metadata.parquet": b"PAR1 not ours",
         ".hidden.tar": b""},
    )  # fmt: skip
    write_tar(folder / "train-000000.tar", [("k.png", png(2)), ("k.txt", b"zib")])
    (folder / "fake.tar").write_bytes(b"no tar")
    found = rules(folder)
    assert {path: rule for path, rule in found.items() if path != "metadata.parquet"} == {
        "own.png": "entry",
        "train-000000.tar": "opened",
        "train-000000.tar/k.png": "entry",
        "train-000000.tar/k.txt": "entry",
        "x_processed_images.zip": "opened",
        "x_processed_images.zip/0001.png": "entry",
        "x_processed_images.zip/../0002.png": "unsafe_path",
        "other.zip": "nested_archive",
        "fake.tar": "nested_archive",
        ".hidden.tar": "hidden",
    }
    source = open_source(folder, Limits())
    assert isinstance(source, FolderSource)
    assert read(source, "train-000000.tar/k.txt") == b"zib"
    assert read(source, "x_processed_images.zip/0001.png") == png(3)
    assert source.read_bytes == len(png(3)) + 3
    source.close()
    version = DatasetStore(tmp_path / "home").import_source(folder)
    assert [item.name for item in version.items] == [
        "own.png",
        "train-000000.tar/k.png",
        "x_processed_images.zip/0001.png",
    ]


def test_the_limit_of_the_whole_holds_across_archives(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / f"s-{number}.tar", [("a.png", b"\0" * 600)])
    source = open_source(tmp_path, Limits(total_bytes=1000))
    entries, _ = source.scan()
    assert b"".join(source.chunks(entries[0])) == b"\0" * 600
    with pytest.raises(InputError, match="unpacks to more than 1 kB"):
        b"".join(source.chunks(entries[1]))
    source.close()


def test_a_damaged_shard_is_one_line(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "s.tar", [(f"{n}.png", png(n) * 20) for n in range(9)]).read_bytes()
    (tmp_path / "s.tar").write_bytes(whole[:700] + b"\xff" * 20_000 + whole[20_700:-9000])
    write_folder(tmp_path, {"bad_processed_images.zip": whole, "good.png": png()})
    assert rules(tmp_path) == {"s.tar": "damaged", "bad_processed_images.zip": "damaged", "good.png": "entry"}
