"""The page in a real browser: a photo is chosen, its labels appear as bars."""

import shutil

import pytest

webdriver = pytest.importorskip("selenium.webdriver")
pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="chromium and chromium-driver are not installed",
)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=800,900",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def shown(browser, selector, wanted=lambda found: found):
    """The texts of elements, as soon as they are what is wanted."""
    from selenium.webdriver.support.ui import WebDriverWait

    def look(driver):
        found = [one.text for one in driver.find_elements("css selector", selector)]
        return found if wanted(found) else False

    return WebDriverWait(browser, 30).until(look)


def test_a_photo_is_chosen(browser, url, photo, tmp_path):
    (tmp_path / "red.jpg").write_bytes(photo)
    browser.get(url)
    assert shown(browser, "h1", lambda found: found == ["colours"]) and browser.title == "Try colours"
    browser.find_element("id", "file").send_keys(str(tmp_path / "red.jpg"))
    assert shown(browser, "#answers h2") == ["colour: red"]
    rows = shown(browser, "#answers li")
    assert (
        rows[0].startswith("red") and rows[0].endswith("%") and any("<b>blue" in row for row in rows) and len(rows) == 3
    )
    widths = [one.size["width"] for one in browser.find_elements("css selector", ".bar")]
    assert widths == sorted(widths, reverse=True) and widths[0] > 100
    assert browser.find_element("id", "photo").get_property("naturalWidth") == 60
    assert browser.find_elements("css selector", "#answers b") == []  # a name is text, not HTML
    assert [
        one for one in browser.get_log("browser") if one["level"] == "SEVERE" and "favicon" not in one["message"]
    ] == []
    browser.save_screenshot(str(tmp_path / "page.png"))
    assert (tmp_path / "page.png").stat().st_size > 5000


def test_a_file_that_is_no_photo(browser, url, tmp_path):
    (tmp_path / "no.jpg").write_bytes(b"no photo")
    browser.get(url)
    shown(browser, "h1", lambda found: found == ["colours"])
    browser.find_element("id", "file").send_keys(str(tmp_path / "no.jpg"))
    assert "can't read this file" in shown(browser, "#status", lambda found: "read" in found[0])[0]
    assert browser.find_elements("css selector", "#answers li") == []


def test_a_photo_is_dropped(browser, url, photo):
    browser.get(url)
    shown(browser, "h1", lambda found: found == ["colours"])
    browser.execute_script(
        "const held = new DataTransfer();"
        "held.items.add(new File([new Uint8Array(arguments[0])], 'dropped.jpg', {type: 'image/jpeg'}));"
        "const drop = new DragEvent('drop', {dataTransfer: held, bubbles: true, cancelable: true});"
        "document.getElementById('drop').dispatchEvent(drop);",
        list(photo),
    )
    assert shown(browser, "#answers h2") == ["colour: red"] and len(shown(browser, "#answers li")) == 3
    assert shown(browser, "#hint") == ["dropped.jpg"]
