"""The page as a document: what stands in it, and what doesn't get in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgedepth.core.errors import OptionError, OutputError, RunError
from edgedepth.core.plain import to_plain
from edgedepth.core.runs import RUN_FILE, Quantiles, Run, Timing, write_run
from edgedepth.report.page import write_report

from .measured_runs import COMMAND, NO_GPU

Copied = Callable[..., tuple[Path, Run]]

HARM = "</script><script>window.harmed=1</script><img src=x onerror='window.harmed=1'><b>"
NASTY = f"{HARM} {{{{7*7}}}} {{% if %}} $\\frac{{1}}{{$ \x00\x1b\u202e\ud83d \"'"


def hostile(run: Run) -> Run:
    """A run that says something nasty wherever it can say anything."""
    first, *others = run.entries
    assert first.parity is not None
    assert first.timing is not None
    parity = first.parity | {
        "stages": {NASTY: {"max_rel": 1.0, "mean_rel": 1.0}},
        "tolerance": {"reason": NASTY, "abs_rel": "much"},
        "notes": [NASTY],
    }
    timing = replace(first.timing, stages={NASTY: first.timing.frame}, notes=(NASTY,))
    pictures = tuple(replace(picture, name=NASTY) for picture in first.pictures)
    quality = {"candidate": {NASTY: 1.0}, "reference": {}, "intervals": {NASTY: "wide"}}
    entry = replace(
        first, name=NASTY, model=NASTY, target=NASTY, precision=NASTY, reason=NASTY, bundle=NASTY, device=NASTY,
        where=NASTY, provenance={NASTY: NASTY}, parity=parity, timing=timing, pictures=pictures, quality=quality,
    )  # fmt: skip
    facts = {NASTY: NASTY, "cpu": NASTY}
    return replace(
        run, command=NASTY, created_utc=NASTY, machine=facts, versions={NASTY: NASTY}, entries=(entry, *others)
    )


def keep_anything(folder: Path, run: Run) -> None:
    """As write_run(), which won't write half a character; JSON itself can."""
    (folder / RUN_FILE).write_text(json.dumps(to_plain(run)), encoding="ascii")


class Tags(HTMLParser):
    """Tags that were opened and not closed, and every attribute."""

    VOID = frozenset(("meta", "img", "input", "br", "link", "hr", "path", "use"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: Path) -> Tags:
    tags = Tags()
    tags.feed(page.read_text(encoding="utf-8"))
    tags.close()
    return tags


def test_it_is_well_formed_and_loads_nothing(drawn_page: Path) -> None:
    tags = parsed(drawn_page)
    assert tags.open == []
    for tag, name, value in tags.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert value.startswith(("data:", "#")), f"<{tag} {name}={value[:60]}>"
    text = drawn_page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.findall(r"url\((?![\"']?(?:data:|#))", text)
    assert not re.findall(r"@import|<link|<iframe|<object|<embed", text)
    # Names of XML's vocabularies are not addresses.
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/1999/xlink"}
    identifiers = [value for _, name, value in tags.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))


def test_every_status_stands_there_in_words_with_its_reason(drawn_page: Path) -> None:
    text = parsed(drawn_page).text
    assert {"passed", "failed", "skipped", "unproven"} <= set(text.split())
    assert NO_GPU in text
    assert "stage decoder max_rel is 0.3" in text
    assert "verified off-device" in text
    assert "coreml fp16 6" in text
    assert COMMAND in text


def test_what_was_not_measured_says_so(drawn_page: Path) -> None:
    text = parsed(drawn_page).text
    assert "not measured" in text
    assert "Not measured for any entry: device memory" not in text  # it isn't the first of them
    assert re.search(r"Not measured for any entry:[^.]*energy", text)
    assert re.search(r"Not in a chart of error against speed:[^.]*coreml fp16 6 \(no latency was measured\)", text)


def test_the_same_run_gives_the_same_page(drawn: Path, drawn_page: Path, tmp_path: Path) -> None:
    again = write_report([drawn], tmp_path / "again.html")
    assert again.read_bytes() == drawn_page.read_bytes()


def test_nothing_that_a_run_says_becomes_markup(copied: Copied, tmp_path: Path) -> None:
    folder, run = copied()
    keep_anything(folder, hostile(run))
    page = write_report([folder], tmp_path / "report.html")
    tags = parsed(page)
    assert tags.open == []
    assert not [each for each in tags.attributes if each[1].startswith("on") or each[2] == "x"]
    assert "49" not in tags.text.split()
    assert page.read_text(encoding="utf-8").count("window.harmed") == tags.text.count("window.harmed") + sum(
        value.count("window.harmed") for _, _, value in tags.attributes
    )


def test_a_run_of_nothing_but_timings_has_a_page(copied: Copied, tmp_path: Path) -> None:
    folder, run = copied()
    frame = Quantiles(p50_ms=10, p90_ms=11, p99_ms=12, mean_ms=10)
    entry = replace(
        run.entries[0], parity=None, pictures=(), quality=None, status="unproven", where="", bundle=None, provenance={},
        timing=Timing(frame=frame, stages={}, samples_ms=()), size_bytes=None,
    )  # fmt: skip
    write_run(folder, replace(run, entries=(entry,)))
    text = parsed(write_report([folder], tmp_path / "report.html")).text
    assert "Latency of single frames" in text
    assert "Accuracy" not in text
    assert "Point cloud" not in text


def test_a_run_in_which_nothing_could_run_has_a_page(copied: Copied, tmp_path: Path) -> None:
    folder, run = copied()
    skipped = [entry for entry in run.entries if entry.status == "skipped"]
    write_run(folder, replace(run, entries=tuple(replace(entry, size_bytes=None) for entry in skipped)))
    text = parsed(write_report([folder], tmp_path / "report.html")).text
    assert NO_GPU in text
    assert "Speed" not in text


def test_figures_that_are_not_numbers_are_said_to_be_none(copied: Copied, tmp_path: Path) -> None:
    folder, run = copied()
    first = run.entries[0]
    parity = {"end_to_end": {"abs_rel": None, "max_rel": True, "delta1": "1", "fov_deg": 10**400}, "stages": [1]}
    write_run(folder, replace(run, entries=(replace(first, parity=parity), *run.entries[1:])))
    text = parsed(write_report([folder], tmp_path / "report.html")).text
    assert "not finite" in text


def test_pictures_can_be_left_out(drawn: Path, tmp_path: Path) -> None:
    page = write_report([drawn], tmp_path / "report.html", pictures=0)
    assert "data:image" not in page.read_text(encoding="utf-8")
    fewer = parsed(write_report([drawn], tmp_path / "fewer.html", pictures=1)).text
    assert "1 more photographs" in fewer


@pytest.mark.parametrize(
    ("options", "error"),
    [({"pictures": -1}, OptionError), ({"pictures": 101}, OptionError), ({"out": "report.pdf"}, OptionError)],
)
def test_options_that_cannot_be_met_are_refused(
    drawn: Path, tmp_path: Path, options: dict[str, object], error: type[Exception]
) -> None:
    out = tmp_path / str(options.pop("out", "report.html"))
    with pytest.raises(error):
        write_report([drawn], out, **options)  # type: ignore[arg-type]
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_told(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        write_report([drawn], tmp_path / "nowhere" / "report.html", pictures=0)


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="can't be read"):
        write_report([tmp_path], tmp_path / "report.html")
