"""COCO captions in their official format."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from channels.errors import InputError
from semcom.data.files import existing_folder, inside, member, read_json, texts
from semcom.data.records import Record, Records, window
from semcom.data.registry import DATASETS


@DATASETS.register("coco-captions", source="Chen et al. 2015, arXiv 1504.00325")
class CocoCaptions(Records):
    """COCO images, each with its (about five) human captions.

    ``annotations``: path of an official file such as captions_val2017.json. ``images``: the folder of the
    images, for example val2017. Images without a caption are left out. ``samples``, ``offset``, ``shuffle``,
    ``size``: as for ``folder``.
    """

    def __init__(
        self,
        annotations: str,
        images: str,
        samples: int | None = None,
        offset: int = 0,
        size: int | None = None,
        shuffle: int | None = None,
    ) -> None:
        path = Path(annotations).expanduser()
        root = existing_folder("data.images", images)
        content = read_json(path)
        files: dict[int, str] = {}
        for i, image in enumerate(member(content, "images", list, str(path))):
            where = f"{path}: images[{i}]"
            files[member(image, "id", int, where)] = member(image, "file_name", str, where)
        captions: dict[int, list[str]] = defaultdict(list)
        for i, annotation in enumerate(member(content, "annotations", list, str(path))):
            where = f"{path}: annotations[{i}]"
            key = member(annotation, "image_id", int, where)
            if key not in files:
                raise InputError(f"{where}: there is no image with the id {key}")
            captions[key] += texts(member(annotation, "caption", str, where), "caption", where)
        keys = [key for key in files if captions[key]]
        chosen = [keys[i] for i in window(len(keys), samples, offset, shuffle, str(path))]
        records = [
            Record(str(key), inside(root, files[key], f"{path}: image {key}"), captions=tuple(captions[key]))
            for key in chosen
        ]
        super().__init__(f"coco-captions/{path.stem}", (), records, size)
