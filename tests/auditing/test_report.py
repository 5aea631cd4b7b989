"""Reports as text, JSON and HTML."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers import assert_error

import equikit as ek


@pytest.fixture(scope="module")
def report():
    data = np.random.default_rng(0).normal(size=(30, 4, 3, 1))
    return ek.audit(lambda x: np.maximum(x, 0), "p x -> p x", p=ek.S, x=ek.O(3), data=data, draws=60)


def test_the_text_is_one_screen(report):
    lines = repr(report).splitlines()
    assert lines[0].startswith("not equivariant: the error is ")
    assert len(lines) < 20
    assert [line.split("  ")[1] for line in lines[1:4]] == ["function", "samples", "error"]
    assert "S(4) × at least S(3), the permutations of x" in str(report)
    passed = ek.audit(np.sin, "p -> p", p=ek.S(3), channels=1)
    assert str(passed).splitlines()[0] == "equivariant up to rounding in float64"


def test_the_verdict_says_what_rounding_explains():
    data = np.random.default_rng(0).normal(size=(64, 3, 2)).astype(np.float32)
    signs = ek.audit(lambda x: np.sign(x).astype(int), "x -> x", x=ek.SO(2), data=data[:, :2], draws=40)
    assert signs.verdict == "not equivariant: the error is no rounding"
    data[17] *= 10
    rare = ek.audit(lambda x: x * (1 + 1e-5 * (x > 12)), "x -> x", x=ek.SO(3), data=data, draws=640, dtype=np.float32)
    assert "rounding explains the mean error, but not the error of some samples, elements or channels" in rare.verdict


def test_json_holds_everything(report):
    value = json.loads(report.to_json())
    assert value == report.as_dict()
    assert (value["passed"], value["samples"], value["precision"]) == (False, 30, "float64")
    assert value["error"] == report.error
    assert len(value["by_sample"]) == 30
    assert np.shape(value["worst_element"]["elements"]["x"]) == (3, 3)
    assert value["kept"]["p"] == "S(4)"
    complex_one = ek.audit(np.conj, "u -> u", u=ek.U(2), channels=1, draws=40, batch=(4,), dtype=np.complex128)
    assert np.shape(json.loads(complex_one.to_json())["worst_element"]["elements"]["u"]) == (2, 2, 2)


def test_the_page_needs_nothing_else(report, tmp_path):
    report.save(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>\n"))
    bare = re.sub("<metadata>.*?</metadata>", "", text)  # names in the license of a picture, which nothing loads
    assert "http" not in bare.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in text
    assert len(page.findall(".//{http://www.w3.org/2000/svg}svg")) == 4
    assert "sample " in text
    assert str(report.worst_element).split(" along")[0] in text
    assert report._repr_html_() in text


def test_elements_without_integers_have_no_matrix():
    found = ek.audit(lambda x: np.maximum(x, 0), "x -> x", x=ek.SO(2), channels=1, draws=40)
    assert "Worst element" not in found._repr_html_()


@pytest.mark.parametrize("name", ["report.txt", "missing/report.html"])
def test_a_file_that_cannot_be_written(report, name, tmp_path):
    with pytest.raises(ek.OptionError, match="the report cannot be written") as caught:
        report.save(tmp_path / name)
    assert caught.value.step == 'write report.save("report.html")'


def test_the_interval_is_shown_where_there_is_an_error(report):
    assert " at 95 %, 90 draws)" in str(report)
    passed = ek.audit(lambda x: 2 * x, "x -> x", x=ek.O(3), channels=1, draws=40)
    assert passed.interval.high > 0.01  # what the number of draws alone tells
    assert "%" not in str(passed)
    assert f"({passed.interval.draws} draws)" in str(passed)


def captions(report):
    page = ElementTree.fromstring(report._repr_html_())
    return [one.text for one in page.findall(".//figcaption")]


def test_the_page_says_what_its_pictures_show(report):
    texts = [text for text, _ in report.by_element]
    assert len({*texts}) == len(texts)
    line = f"; the line is what rounding explains, {report.rounding:.2g}"
    assert captions(report)[:2] == [
        f"Error by element, the mean over samples{line}",
        f"Error by sample, the largest 24 of 30{line}",
    ]
    finite = ek.audit(lambda x: x * np.arange(5)[:, None], "p -> p", p=ek.S(5), channels=1)
    assert captions(finite)[0].startswith("Error by element, the mean over samples, the largest 16 of 120; the line is")


def test_there_is_no_worst_element_without_an_error():
    report = ek.audit(np.sin, "p -> p", p=ek.S(3), channels=1)
    assert "worst element      none" in str(report)
    assert not [text for text in captions(report) if text.startswith("Worst element")]


def test_a_report_is_saved_under_a_name(report):
    for wrong in (3, None, "report.txt"):
        step = 'report.save("report.html")'
        assert_error(ek.OptionError, lambda x=wrong: report.save(x), "cannot be written", str(wrong), ".html", step)
