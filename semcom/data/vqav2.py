"""VQAv2 in its official format."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from channels.errors import InputError, unknown
from semcom.data.files import existing_folder, inside, member, read_json
from semcom.data.records import YES_NO, Record, Records, common_answers, window
from semcom.data.registry import DATASETS
from semcom.types import Question

TYPES = ("answer", "question")


@DATASETS.register("vqav2", source="Goyal et al., CVPR 2017, arXiv 1612.00837")
class VQAv2(Records):
    """COCO images with the questions of VQAv2, each with ten human answers.

    ``questions``, ``annotations``: paths of official files such as v2_OpenEnded_mscoco_val2014_questions.json
    and v2_mscoco_val2014_annotations.json. ``images``: the folder of images named
    COCO_val2014_000000000042.jpg. ``types``: results are listed by ``answer`` type (yes/no, number, other) or
    by the 65 ``question`` types. ``candidates``: size of the closed answer set, the most common answers of
    the whole file (questions of answer type yes/no have yes and no); 0 leaves them open. ``samples`` counts
    images, not questions; ``offset``, ``shuffle``, ``size``: as for ``folder``.
    """

    def __init__(
        self,
        questions: str,
        annotations: str,
        images: str,
        types: str = "answer",
        candidates: int = 1000,
        samples: int | None = None,
        offset: int = 0,
        size: int | None = None,
        shuffle: int | None = None,
    ) -> None:
        if types not in TYPES:
            raise unknown("data.types of data set 'vqav2':", types, TYPES)
        asked, answered = Path(questions).expanduser(), Path(annotations).expanduser()
        root = existing_folder("data.images", images)
        content = read_json(asked)
        subtype = member(content, "data_subtype", str, str(asked))
        truth = _answers(answered, types, candidates)
        by_image: dict[int, list[Question]] = defaultdict(list)
        for i, entry in enumerate(member(content, "questions", list, str(asked))):
            where = f"{asked}: questions[{i}]"
            key = member(entry, "question_id", int, where)
            if key not in truth:
                raise InputError(f"{where}: {answered} has no annotation of the question {key}")
            question = replace(truth[key], text=member(entry, "question", str, where).strip())
            by_image[member(entry, "image_id", int, where)].append(question)
        keys = list(by_image)
        chosen = [keys[i] for i in window(len(keys), samples, offset, shuffle, str(asked))]
        records = [
            Record(
                id=str(key),
                image=inside(root, f"COCO_{subtype}_{key:012d}.jpg", f"{asked}: image {key}"),
                questions=tuple(by_image[key]),
            )
            for key in chosen
        ]
        super().__init__(f"vqav2/{subtype}", (), records, size)


def _answers(path: Path, types: str, candidates: int) -> dict[int, Question]:
    """Question id -> question without its text."""
    entries = []
    for i, entry in enumerate(member(read_json(path), "annotations", list, str(path))):
        where = f"{path}: annotations[{i}]"
        kind, shown = (member(entry, f"{t}_type", str, where) for t in ("answer", types))
        said = tuple(member(a, "answer", str, where) for a in member(entry, "answers", list, where))
        if not said:
            raise InputError(f"{where}: the list of answers is empty")
        majority = member(entry, "multiple_choice_answer", str, where)
        entries.append((member(entry, "question_id", int, where), kind, shown, majority, said))
    common = common_answers((majority for _, kind, _, majority, _ in entries if kind != "yes/no"), candidates)
    closed = {"yes/no": YES_NO} if candidates else {}
    return {
        key: Question("", majority, shown, candidates=closed.get(kind, common), answers=said)
        for key, kind, shown, majority, said in entries
    }
