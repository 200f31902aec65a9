"""The page: self-contained, well-formed, escaped; its sentences are computed."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.report import sentences
from semcom.report.html import About, Shown, page
from semcom.report.view import View
from tests.report.frames import INFORMED, KINDS, pick, random_frame

EVIL = "<script>alert('x')</script> & \"$y$\""
VOID = {"meta", "img", "br", "hr", "link"}
few = settings(max_examples=6, deadline=None)


class Reader(HTMLParser):
    """Collects tags, addresses and text; fails on a tag that is closed out of order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def about(title: str = "A run", scenario: str = "title: A run\n") -> About:
    return About(title, scenario, "scenes", 7, "0.1.0", 72, 72)


def test_everything_from_data_is_escaped() -> None:
    frame = random_frame(1).replace({"system": {"jpeg": EVIL}, "question_type": {"count": EVIL}})
    frame = frame.replace({"channel": {"rayleigh": EVIL}, "metric": {"metric-vqa": EVIL}})
    view = View.of(frame, {EVIL if k == "jpeg" else k: v for k, v in KINDS.items()}, INFORMED)
    figure = Shown("name", EVIL, [EVIL], b"png")
    source = page(view, about(EVIL, f"title: {EVIL}\n"), [figure], [EVIL])
    reader = Reader(source)
    assert not reader.open and "script" not in reader.tags
    assert "<script" not in source
    assert "".join(reader.text).count(EVIL) > 10


def test_nothing_is_loaded_from_elsewhere() -> None:
    view = View.of(random_frame(2), KINDS, INFORMED)
    source = page(view, about(), [Shown("a", "A", ["b"], b"\x89PNG")])
    reader = Reader(source)
    assert reader.addresses == ["data:image/png;base64,iVBORw=="]
    assert not re.search(r"@import|url\(|https?://", source)
    assert {"script", "link", "iframe", "object"}.isdisjoint(reader.tags)


def test_the_page_holds_tables_conventions_and_origin() -> None:
    frame = random_frame(3)
    frame.loc[(frame["system"] == "jpeg") & (frame["budget_uses"] == 128), "channel_uses"] = 0.0
    text = " ".join(Reader(page(View.of(frame, KINDS, INFORMED), about(), [])).text)
    row = pick(frame, task="vqa", system="hevc-intra", snr_db=5.0, budget_uses=512).iloc[0]
    assert f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]" in text
    for word in (
        "Es/N0",
        "CBR",
        "bpp",
        "channel use",
        "outage",
        "seed 7",
        "semcom 0.1.0",
        "torch 2",
        "sionna",
    ):
        assert word in text
    assert "jpeg fits no image into 128 channel uses" in text


@few
@given(st.integers(0, 2**32 - 1))
def test_sentences_say_what_the_frame_says(seed: int) -> None:
    frame = random_frame(seed)
    view = View.of(frame, KINDS, INFORMED)
    for task in view.tasks:
        rows = pick(frame, task=task, snr_db=15.0, budget_uses=128)
        rows = (
            rows[~rows["system"].isin(INFORMED)].dropna(subset="score").sort_values("score", ascending=False)
        )
        first, second = rows.iloc[0], rows.iloc[1]
        blind = pick(frame, task=task, system="blind").iloc[0]
        text = sentences.lead(view, task, "rayleigh", 15.0, 128)
        assert text.startswith("At 15 dB and 128 channel uses ")
        number = f"{100 * first['score']:.1f} % [{100 * first['ci_low']:.1f}, {100 * first['ci_high']:.1f}]"
        if first["ci_low"] <= blind["ci_high"]:
            assert "nobody is significantly above the blind guess" in text
            assert (f"the best, {first['system']}, has {number}" in text) == (first["score"] > blind["score"])
            continue
        margin = 100 * (first["score"] - second["score"])
        assert f"{first['system']} leads with {number}, {margin:.1f} points over {second['system']}" in text
        assert ("not significant" in text) == (first["ci_low"] <= second["ci_high"])


def test_equal_scores_share_the_lead() -> None:
    frame = random_frame(8)
    rows = frame["snr_db"].notna() & frame["system"].isin(["jpeg", "embedding", "decide-at-transmitter"])
    frame.loc[rows & frame["applicable"], ["score", "ci_low", "ci_high"]] = [1.0, 0.9, 1.0]
    text = sentences.lead(View.of(frame, KINDS, INFORMED), "vqa", "rayleigh", 5.0, 128)
    assert text == "At 5 dB and 128 channel uses jpeg, embedding share the lead with 100.0 % [90.0, 100.0]."


@few
@given(st.integers(0, 2**32 - 1))
def test_the_caption_of_the_map_counts_its_cells(seed: int) -> None:
    view = View.of(random_frame(seed), KINDS, INFORMED)
    text = " ".join(sentences.map_caption(view))
    for task in view.tasks:
        wins = view.wins(task, "rayleigh")
        part = re.search(rf"{task}: of (\d+) cells, ([^.]*)\.", text)
        assert part and int(part[1]) == len(wins)
        counted = {name: int(count) for name, count in re.findall(r"([\w-]+) wins (\d+)", part[2])}
        assert counted == {
            label: count
            for label in KINDS
            if (count := sum(w.winner == label and w.verdict == "win" for w in wins))
        }
        ties = re.search(r"(\d+) are ties", part[2])
        assert int(ties[1] if ties else 0) == sum(win.verdict == "tie" for win in wins)


@few
@given(st.integers(0, 2**32 - 1))
def test_the_types_where_text_and_pictures_part(seed: int) -> None:
    frame = random_frame(seed)
    view = View.of(frame, KINDS, INFORMED)
    text = " ".join(sentences.type_caption(view, "vqa", "rayleigh", 5.0, 512))
    at = {"task": "vqa", "snr_db": 5.0, "budget_uses": 512}
    whole = pick(frame, **at).set_index("system")["score"]
    picture = max(("jpeg", "hevc-intra"), key=lambda label: float(whole[label]))
    gaps = {
        kind: float(rows["caption-text"] - rows[picture])
        for kind in ("colour", "count", "texture")
        if (rows := pick(frame, question_type=kind, **at).set_index("system")["score"]) is not None
    }
    for kind in (max(gaps, key=lambda k: gaps[k]), min(gaps, key=lambda k: gaps[k])):
        words = f"{abs(100 * gaps[kind]):.0f} points {'ahead of' if gaps[kind] > 0 else 'behind'} {picture}"
        assert f"On “{kind}” caption-text is {words}." in text


def test_several_schemes_are_declared() -> None:
    one = View.of(random_frame(4), KINDS)
    assert sentences.mcs_lines(one) == []
    several = View.of(random_frame(4, schemes=(("qpsk", 0.5), ("qam16", 0.5))), KINDS)
    text = sentences.mcs_lines(several)[0]
    assert "best of several modulation and coding schemes" in text and "qam16 rate 0.5" in text


def test_turnover_names_runs_of_significant_wins() -> None:
    frame = random_frame(5, tasks=("vqa",), labels=("jpeg", "caption-text"))
    radio = frame["snr_db"].notna()
    low = radio & (frame["snr_db"] < 10)
    for label, where, score in (("jpeg", low, 0.5), ("caption-text", low, 0.9), ("jpeg", radio & ~low, 0.9)):
        rows = where & (frame["system"] == label)
        frame.loc[rows, ["score", "ci_low", "ci_high"]] = [score, score - 0.01, score + 0.01]
    rows = radio & ~low & (frame["system"] == "caption-text")
    frame.loc[rows, ["score", "ci_low", "ci_high"]] = [0.7, 0.69, 0.71]
    lines = sentences.turnover(View.of(frame, KINDS), "vqa", "rayleigh")
    assert lines[0] == "Significant winners at 128 channel uses: caption-text from −5 to 5 dB, jpeg at 15 dB."
    assert len(lines) == 2


@pytest.mark.parametrize("missing", ["ceiling", "blind"])
def test_a_missing_reference_is_no_error(missing: str) -> None:
    frame = random_frame(6)
    view = View.of(frame[frame["system"] != missing], KINDS, INFORMED)
    assert missing not in " ".join(sentences.frame_lines(view, "vqa")).split("Horizontal lines:")[1]
    assert sentences.ends(view, "vqa", "rayleigh")
