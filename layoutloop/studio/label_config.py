"""Label Studio's label config (XML) -> what of it is served, where a task's images are, and the version reported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from defusedxml.ElementTree import ParseError, fromstring

from layoutloop.errors import LabelConfigUnsupported, TaskInvalid

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Kind = Literal["rectanglelabels", "ocr"]

MAX_XML_BYTES = 2**20
RECTANGLE_LABELS_EXAMPLE = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="Total"/></RectangleLabels></View>'
)
OCR_EXAMPLE = (
    '<View><Image name="image" value="$ocr"/><Labels name="label" toName="image"><Label value="Total"/></Labels>'
    '<Rectangle name="bbox" toName="image"/>'
    '<TextArea name="transcription" toName="image" perRegion="true"/></View>'
)
_LABEL_CONTROLS = ("RectangleLabels", "Labels")
_NOT_RENAMED = "$undefined$"  # what Label Studio calls the only column of a plain list of files
_VALUE = re.compile(r"\$([^.\[\]{}$]+)")


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """The controls that results are drawn with.

    Args:
        kind: `rectanglelabels` is <RectangleLabels>; `ocr` is <Labels> with a <Rectangle>.
        to_name: the <Image>.
        from_name: the control that holds the labels.
        rectangle_name: the <Rectangle>; None for `rectanglelabels`.
        textarea_name: the per-region <TextArea>; None where there is none.
        value_key: key of the task's data that holds the image, or the list of images.
        is_list: the <Image> has valueList: many pages in one task.
        labels: the project's labels in config order, as annotations name them (alias before value).
        label_map: pairs (model's label, project's label).
    """

    kind: Kind
    to_name: str
    from_name: str
    rectangle_name: str | None
    textarea_name: str | None
    value_key: str
    is_list: bool
    labels: tuple[str, ...]
    label_map: tuple[tuple[str, str], ...]

    def project_label(self, label: str | None) -> str | None:
        """Return what the project calls a label (model's, value or alias); None for a label it does not know."""
        return next((ours for theirs, ours in self.label_map if theirs == label), None)


@dataclass(frozen=True, slots=True)
class _Tag:
    """One element; attribute names in lower case, since Label Studio's front end ignores case."""

    tag: str
    attributes: dict[str, str]
    element: Element

    @classmethod
    def of(cls, element: Element) -> _Tag:
        return cls(element.tag, {key.lower(): value for key, value in element.attrib.items()}, element)

    @property
    def name(self) -> str | None:
        return self.attributes.get("name") or None

    @property
    def to_name(self) -> str | None:
        return self.attributes.get("toname") or None

    @property
    def is_skipped(self) -> bool:
        """Whether the control is kept from ML backends; the attribute is that of Label Studio's own examples."""
        return self.attributes.get("model_skip", "").strip().lower() in ("1", "true", "yes")

    def __str__(self) -> str:
        return f'<{self.tag} name="{self.name}">'


def parse_label_config(xml: str) -> LabelConfig:
    """Return what of a label config this back end serves.

    Of several controls or images, the first control in document order that fits is taken:
    <RectangleLabels>, or <Labels> that shares its <Image> with a <Rectangle>. The first <TextArea> with
    perRegion="true" on the same <Image> takes the text. A control with model_skip="true" is passed over. Everything
    else is left to the annotator (`served_sentence` says so).

    Where a <Label> has an alias, results carry the alias. Label Studio draws either, but what an annotator
    draws is stored as the alias (`selectedValues` and `findLabel` in web/libs/editor/src/mixins/SelectedModel.js),
    and the SDK's parse_config knows no other name, so a value would make two labels of one in the export.

    Raises:
        LabelConfigUnsupported: says what was found and what to write instead.
    """
    tags = _tags(xml)
    usable = [tag for tag in tags if not tag.is_skipped]
    images = _images(tags)
    rectangles = {tag.to_name: tag for tag in reversed(usable) if tag.tag == "Rectangle" and tag.name}
    problem: LabelConfigUnsupported | None = None
    for control in usable:
        image, rectangle = images.get(control.to_name), rectangles.get(control.to_name)
        fits = control.tag == "RectangleLabels" or (control.tag == "Labels" and rectangle is not None)
        if image is None or control.name is None or not fits:
            continue
        textarea = next((tag for tag in usable if _is_region_text(tag, image)), None)
        try:
            return _config(control, image, rectangle if control.tag == "Labels" else None, textarea)
        except LabelConfigUnsupported as error:
            problem = problem or error
    raise problem or _nothing_fits(tags)


def _config(control: _Tag, image: _Tag, rectangle: _Tag | None, textarea: _Tag | None) -> LabelConfig:
    (value_key, is_list), names = _image_value(image), _names(control)
    return LabelConfig(
        kind="rectanglelabels" if control.tag == "RectangleLabels" else "ocr",
        to_name=image.name or "",
        from_name=control.name or "",
        rectangle_name=rectangle.name if rectangle else None,
        textarea_name=textarea.name if textarea else None,
        value_key=value_key,
        is_list=is_list,
        labels=tuple(dict.fromkeys(ours for ours, _ in names)),
        label_map=_label_map(control, names),
    )


def served_sentence(xml: str, config: LabelConfig) -> str | None:
    """Return which control is served and which are not, where a label config has several; None where it has one."""
    tags = _tags(xml)
    controls = [tag for tag in tags if tag.tag in _LABEL_CONTROLS and tag.name and tag.to_name in _images(tags)]
    served = next((tag for tag in controls if tag.name == config.from_name), None)
    others = [tag for tag in controls if tag is not served]
    if served is None or not others:
        return None
    return (
        f"of {len(controls)} controls with labels {served} is served; what is drawn with "
        f'{", ".join(map(str, others))} is left to people (model_skip="true" on a control passes it over)'
    )


def image_references(task: Mapping[str, object], config: LabelConfig) -> tuple[str, ...]:
    """Return the task's image references as they are there, one per page.

    Raises:
        TaskInvalid: the task has no image where the label config says one is.
    """
    data = task.get("data")
    if not isinstance(data, Mapping):
        raise TaskInvalid(f"task {_task_id(task)} has no `data` object")
    key = next((name for name in (config.value_key, _NOT_RENAMED) if name in data), None)
    if key is None:
        keys = ", ".join(str(name)[:40] for name in list(data)[:10]) or "none"
        raise TaskInvalid(
            f'task {_task_id(task)} has no "{config.value_key}", which the label config\'s <Image> needs; '
            f"its data has these keys: {keys}"
        )
    found = data[key]
    references = found if config.is_list and isinstance(found, list) else [found]
    if not references:
        raise TaskInvalid(f'task {_task_id(task)}: the list of images in "{key}" is empty')
    if not all(isinstance(reference, str) and reference.strip() for reference in references):
        wanted = "a list of addresses" if config.is_list else "the address of one image"
        hint = ' (write valueList="$..." for many pages)' if isinstance(found, list) and not config.is_list else ""
        kinds = ", ".join(sorted({_kind(entry) for entry in references}))
        raise TaskInvalid(f'task {_task_id(task)}: "{key}" should be {wanted}, got {kinds}{hint}')
    return tuple(references)


def _root(xml: str) -> Element:
    """Return the parsed document; what is wrong with it becomes a sentence."""
    if not xml.strip():
        raise _unsupported("the label config is empty")
    if len(xml) > MAX_XML_BYTES or len(xml.encode(errors="replace")) > MAX_XML_BYTES:
        raise _unsupported(f"the label config is longer than {MAX_XML_BYTES:,} bytes")
    try:
        return fromstring(xml, forbid_dtd=True)
    except ParseError as error:
        raise _unsupported(f"the label config is not well-formed XML ({error})") from error
    except ValueError as error:  # defusedxml's refusals, and characters that have no UTF-8 form
        raise _unsupported(
            f"the label config holds a DTD, entities or characters that are refused ({type(error).__name__})"
        ) from error


def _tags(xml: str) -> list[_Tag]:
    return [_Tag.of(element) for element in _root(xml).iter()]


def _images(tags: Sequence[_Tag]) -> dict[str | None, _Tag]:
    return {tag.name: tag for tag in tags if tag.tag == "Image" and tag.name}


def _image_value(image: _Tag) -> tuple[str, bool]:
    """Return the key of the task's data and whether it holds a list."""
    is_list = bool(image.attributes.get("valuelist"))
    value = image.attributes.get("valuelist") or image.attributes.get("value") or ""
    found = _VALUE.fullmatch(value)
    if found is None:
        attribute = "valueList" if is_list else "value"
        raise _unsupported(
            f'<Image name="{image.name}"> has {attribute}="{value[:80]}"; write value="$key" for one image in '
            'the task\'s data, or valueList="$key" for a list of pages'
        )
    return found[1], is_list


def _is_region_text(tag: _Tag, image: _Tag) -> bool:
    per_region = tag.attributes.get("perregion", "").strip().lower() == "true"
    return tag.tag == "TextArea" and per_region and tag.name is not None and tag.to_name == image.name


def _names(control: _Tag) -> list[tuple[str, tuple[str, ...]]]:
    """Return each label of a control: what annotations call it, and every name that stands for it.

    Raises:
        LabelConfigUnsupported: it has none.
    """
    found = []
    for label in map(_Tag.of, control.element.iter("Label")):
        alias, value = label.attributes.get("alias"), label.attributes.get("value")
        if ours := alias or value:
            predicted = (name.strip() for name in label.attributes.get("predicted_values", "").split(","))
            found.append((ours, tuple(name for name in (alias, value, *predicted) if name)))
    if not found:
        dynamic = control.attributes.get("value")
        cause = f"takes its labels from the task ({dynamic})" if dynamic else "has no <Label>"
        raise _unsupported(
            f'<{control.tag} name="{control.name}"> {cause}; write every label as <Label value="..."/> inside it'
        )
    return found


def _label_map(control: _Tag, names: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[tuple[str, str], ...]:
    """Return pairs of each name and its label.

    Raises:
        LabelConfigUnsupported: one name stands for two labels.
    """
    label_map: dict[str, str] = {}
    for ours, aliases in names:
        for name in aliases:
            other = label_map.setdefault(name, ours)
            if other != ours:
                raise _unsupported(
                    f'"{name}" stands for two labels of <{control.tag} name="{control.name}">, "{other}" and "{ours}"; '
                    "each name may appear once among value, alias and predicted_values",
                    example='<Label value="Total" predicted_values="total,amount"/><Label value="Date"/>',
                )
    return tuple(label_map.items())


def _nothing_fits(tags: Sequence[_Tag]) -> LabelConfigUnsupported:
    """Return the refusal for a config without a control that fits, saying what it has instead."""
    objects = {tag.name: tag.tag for tag in tags if tag.name and tag.to_name is None}
    found = dict.fromkeys(
        (
            f"<{tag.tag}> on <{objects[tag.to_name]}>"
            if tag.to_name in objects
            else f'<{tag.tag}> on a missing "{tag.to_name}"'
        )
        + (" (passed over: model_skip)" if tag.is_skipped else "")
        for tag in tags
        if tag.to_name
    )
    listed = ", ".join(list(found)[:8]) or "no control with a toName"
    return _unsupported(
        "the label config has neither <RectangleLabels> on an <Image>, nor <Labels> and <Rectangle> on one <Image>; "
        f"found {listed}",
        example=f"{RECTANGLE_LABELS_EXAMPLE} or {OCR_EXAMPLE}",
    )


def _unsupported(sentence: str, example: str = RECTANGLE_LABELS_EXAMPLE) -> LabelConfigUnsupported:
    return LabelConfigUnsupported(f"{sentence}. Write for example: {example}")


def _task_id(task: Mapping[str, object]) -> str:
    return str(task.get("id", "without an id"))[:40]


def _kind(entry: object) -> str:
    if isinstance(entry, str):
        return "an address" if entry.strip() else "an empty string"
    return f"a {type(entry).__name__}"
