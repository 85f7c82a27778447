import html
import re

from keras_transfer.reporting import Report


def test_in_a_notebook_the_page_stands_in_a_frame_and_its_text_survives(tmp_path):
    page = '<!DOCTYPE html><p title="a">5 < 6 & "quotes"</p>'
    (tmp_path / "r.html").write_text(page, encoding="utf-8")
    report = Report(str(tmp_path / "r.html"))
    shown = report._repr_html_()
    assert (
        html.unescape(re.fullmatch(r'<iframe srcdoc="([^"]*)" title="Report" sandbox="" [^>]*></iframe>', shown)[1])
        == page
    )
    assert report.path == tmp_path / "r.html" and repr(report) == f"Report({str(tmp_path / 'r.html')!r})"
