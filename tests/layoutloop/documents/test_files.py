from __future__ import annotations

from pathlib import Path

from layoutloop.documents.files import DOCUMENTS, files_of


def test_folders_are_walked_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.png", "a/.hidden.png", ".git/x.png", "c.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    named = tmp_path / ".git" / "x.png"
    assert [str(path.relative_to(tmp_path)) for path in files_of([named, tmp_path])] == [
        *(".git/x.png", "a/up", "a/z.png", "b.png", "c.pdf"),
    ]


def test_of_a_folder_only_what_has_pages_is_taken(tmp_path: Path) -> None:
    for name in ("a.PNG", "b.pdf", "c.tiff", "export.json", "notes.txt", "named.dat"):
        (tmp_path / name).write_bytes(b"")
    named = tmp_path / "named.dat"
    assert [path.name for path in files_of([named, tmp_path], DOCUMENTS)] == ["named.dat", "a.PNG", "b.pdf", "c.tiff"]
    assert [path.name for path in files_of([tmp_path], {".png", ".tiff"})] == ["a.PNG", "c.tiff"]
