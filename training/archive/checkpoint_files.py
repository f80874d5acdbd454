"""Which files of a checkpoint's folder are taken, and what is refused: links that lead out of it, above all."""

from __future__ import annotations

from pathlib import Path

from handler.tagging.box_prior import FILE as BOX_PRIOR
from handler.tagging.calibration import FILE as CALIBRATION
from layoutloop.errors import ArchiveFailed
from layoutloop.foreign_json import mapping_of, parse_json

_WANTED = (
    *("config.json", "*.safetensors", "*.safetensors.index.json", "preprocessor_config.json"),
    *(BOX_PRIOR, CALIBRATION),
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"),
)
"""What serving needs. A folder of the Trainer also holds its optimizer, its arguments and earlier checkpoints."""
_JSON_BYTES = 2**20
"""Of config.json; a tokenizer is larger, and read by what understands it."""


def checkpoint_files(source: Path) -> list[Path]:
    """Return the files that serving needs, by name.

    Raises:
        ArchiveFailed: it is no checkpoint's folder; or a file of it is a link to somewhere else, which may be anything
            on this machine, or names such a file.
    """
    if not (source / "config.json").is_file():
        raise ArchiveFailed(f"{source} is no checkpoint folder: it has no config.json")
    found = sorted({path for pattern in _WANTED for path in source.glob(pattern) if path.is_file()})
    for path in found:
        _refuse_link_out(source, path)
        if path.name.endswith(".index.json"):
            _refuse_names_out(path)
    return found


def read_config(path: Path) -> dict[str, object]:
    """Return a config.json.

    Raises:
        ArchiveFailed: it is no JSON object, or far too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_JSON_BYTES + 1)
        if len(content) > _JSON_BYTES:
            raise ValueError(f"it has more than {_JSON_BYTES:,} bytes")
        return dict(mapping_of(parse_json(content), "it"))
    except ValueError as error:
        raise ArchiveFailed(f"this is no checkpoint: its config.json cannot be understood ({error})") from error


def _refuse_link_out(source: Path, path: Path) -> None:
    """Refuse a link to a file outside of its folder, but for the blobs that a snapshot of the Hub's cache links to."""
    try:
        folder, target = source.resolve(strict=True), path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ArchiveFailed(f"{path} cannot be read: {error}") from error
    is_blob = folder.parent.name == "snapshots" and target.parent == folder.parent.parent / "blobs"
    if target.parent != folder and not is_blob:
        raise ArchiveFailed(f"{path} is a link out of its folder, to {target}: copy the file there if it belongs to it")


def _refuse_names_out(index: Path) -> None:
    try:
        body = mapping_of(parse_json(index.read_bytes()), "it")
        names = list(mapping_of(body.get("weight_map"), "`weight_map`").values())
    except (OSError, ValueError) as error:
        raise ArchiveFailed(f"{index} cannot be understood: {error}") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise ArchiveFailed(f"{index} names {name!r:.80}, which is no file beside it")
