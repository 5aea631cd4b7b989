"""Bars on a logarithmic scale."""

from xml.etree import ElementTree

import pytest

import equikit as ek
from equikit.draw import bars_svg, bars_tikz


def test_bars_have_lengths_and_a_limit():
    root = ElementTree.fromstring(bars_svg([("a & b", 1e-4), ("c", 0.0), ("d", 1.0)], limit=1e-2))
    bars = root.findall("{*}path[@class='bar']")
    widths = [float(bar.get("d").partition("h")[2].partition("v")[0]) for bar in bars]
    assert len(bars) == 2
    assert widths[1] > 2 * widths[0] > 0
    assert bars[0].get("fill") != bars[1].get("fill")
    assert len(root.findall("{*}path[@class='limit']")) == 1
    assert ElementTree.fromstring(bars_svg([("zero", 0.0)])).findall("{*}path[@class='bar']") == []
    for wrong in ([], [("a", -1.0)], [("a", float("nan"))]):
        with pytest.raises(ek.OptionError):
            bars_svg(wrong)
    with pytest.raises(ek.TooLargeError):
        bars_svg([("a", 1.0)] * 501)


def test_no_line_crosses_a_number_and_the_limit_has_a_name():
    root = ElementTree.fromstring(bars_svg([("a", 2e-7), ("b", 0.5)], limit=1e-6))
    lines = root.findall("{*}path[@class='limit']") + root.findall("{*}path[@class='scale']")
    places = [float(line.get("d").partition(" ")[0].removeprefix("M")) for line in lines]
    assert [one.text for one in root.findall("{*}text[@class='value']")] == ["2e-07", "0.5"]
    assert all(float(one.get("x")) > max(places) for one in root.findall("{*}text[@class='value']"))
    (name,) = root.findall("{*}text[@class='limit name']")
    assert name.text == "limit 1e-06"
    assert float(name.get("x")) == pytest.approx(places[0], abs=0.5)
    assert 0 < float(name.get("y")) < float(root.get("viewBox").split()[3])


@pytest.mark.parametrize("write", [bars_svg, bars_tikz])
def test_bars_that_are_no_bars_are_refused(write):
    for wrong in ([("a", "x")], [(3, 0.1)], ["ab"], [("a", 0.1, 0.2)], [("a", True)], {"a": 0.1}, 3):
        with pytest.raises(ek.OptionError, match="bar"):
            write(wrong)
    for limit in (float("inf"), float("nan"), "x"):
        with pytest.raises(ek.OptionError, match="limit= must be a finite number"):
            write([("a", 0.5)], limit=limit)


def test_numbers_at_the_ends_of_float64_have_bars():
    root = ElementTree.fromstring(bars_svg([("small", 5e-324), ("large", 1.7e308)]))
    assert len(root.findall("{*}path[@class='bar']")) == 2
