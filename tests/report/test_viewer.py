"""The exam page in a real browser: what a radiologist does with mouse and keyboard."""

import base64
import io
import json
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from secondreader import report
from secondreader.domain import (
    Box,
    Detection,
    ExamReading,
    Frame,
    Heatmap,
    ImageSource,
    Kind,
    Laterality,
    Mammogram,
    ModelScore,
    View,
    ViewReading,
)

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1366,768",
]
SHAPE = (2400, 1800)


def mammogram(laterality, view):
    """A breast that is flat but for one bright square at (1200, 600) from the chest wall."""
    pixels = np.zeros(SHAPE, np.float32)
    row, col = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    pixels[np.hypot((row - 1200) / 1000, col / 1300) < 1] = 2000 / 4095
    pixels[1190:1210, 590:610] = 2001 / 4095  # one step of 12 bits brighter
    if laterality is Laterality.R:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    source = ImageSource(f"{laterality}-{view}.dcm", bits=12)
    return Mammogram(pixels, (0.07, 0.07), laterality, view, source)


def view_reading(image):
    col = 600 if image.laterality is Laterality.L else SHAPE[1] - 601
    found = Detection(
        Kind.CALCIFICATION_CLUSTER,
        Box(1150, col - 50, 1250, col + 50),
        5.0,
        link="one" if image.laterality is Laterality.L else None,
        model="m",
        finding=True,
    )
    below = Detection(
        Kind.MICROCALCIFICATION, Box(400, col, 404, col + 4), 1.0, None, "m", None, False
    )
    heat = np.zeros((24, 18), np.float32)
    heat[12, round(col / 100)] = 1
    frame = Frame((24, 18), SHAPE, (49.5, 49.5), (100, 100))
    return ViewReading(
        image.source,
        *SHAPE,
        image.laterality,
        image.view,
        image.spacing_mm,
        (ModelScore("m", 5.0),),
        (found, below),
        (("m", Heatmap(heat, frame)),),
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    images = [mammogram(side, view) for view in (View.MLO, View.CC) for side in Laterality]
    views = tuple(view_reading(image) for image in images)
    reading = ExamReading("<b>E&1</b>", None, (ModelScore("m", 5.0),), (), views)
    out = tmp_path_factory.mktemp("page")
    form = report.exam_form(reading, report.write_heatmaps(out, "e", reading))
    pixels = [report.view_pixels(i, v) for i, v in zip(images, views, strict=True)]
    header = report.ReadingHeader(
        version="0", inputs=(), models=(report.ModelIdentity(name="m", sha256=None),)
    )
    file = out / "page.html"
    file.write_text(report.exam_page(form, pixels, header=header))
    return file


@pytest.fixture(scope="module")
def browser(page):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.get(page.as_uri())
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if driver.execute_script("return document.body.dataset.ready") == "yes":
            break
        time.sleep(0.1)
    yield driver
    driver.quit()


@pytest.fixture(autouse=True)
def as_at_first(browser):
    browser.execute_script(
        "document.body.classList.remove('single'); state.overlay = true; state.all = false;"
        "state.heat = false; document.getElementById('help').close(); resize(); reset();"
        "activate(0);"
    )


def press(browser, *keys):
    from selenium.webdriver import ActionChains

    actions = ActionChains(browser)
    for key in keys:
        actions.send_keys(key)
    actions.perform()


def canvas(browser, index):
    """The pixels (rows, cols, 3) of a view's canvas."""
    data = browser.execute_script(f"return views[{index}].canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).convert("RGB"))


def ask(browser, what):
    return browser.execute_script(f"return {what}")


def test_the_views_are_hung_with_chest_walls_together(browser):
    labels = [f.text.split("\n")[0] for f in browser.find_elements("css selector", "figcaption")]
    assert labels == ["R CC", "L CC", "R MLO", "L MLO"]
    right, left = canvas(browser, 0).mean(axis=(0, 2)), canvas(browser, 1).mean(axis=(0, 2))
    assert right[-20:].mean() > right[:20].mean() + 20  # the right breast's wall is to the right
    assert left[:20].mean() > left[-20:].mean() + 20


def test_nothing_goes_wrong_and_nothing_is_fetched(browser, page):
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    urls = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    assert {u for u in urls if not u.startswith(("file:", "data:", "blob:"))} == set()


def test_hostile_ids_are_shown_as_they_are(browser):
    assert "<b>E&1</b>" in browser.find_element("css selector", "h1").text


def test_a_click_on_a_finding_shows_it_at_full_resolution(browser):
    before = ask(browser, "views[0].k")
    browser.find_element("css selector", "[data-finding='1'] button").click()
    active = ask(browser, "state.active")
    assert ask(browser, f"views[{active}].k") == ask(browser, "window.devicePixelRatio") > before
    row, col = ask(browser, f"views[{active}].info.marks[0].center")
    x, y = ask(browser, f"toCanvas(views[{active}], {row}, {col})")
    assert x == pytest.approx(ask(browser, f"views[{active}].canvas.width / 2"), abs=1)
    assert y == pytest.approx(ask(browser, f"views[{active}].canvas.height / 2"), abs=1)


def test_a_click_on_a_mark_in_the_picture_does_the_same(browser):
    from selenium.webdriver import ActionChains

    x, y = ask(browser, "toCanvas(views[1], 1200, 600)")
    box = ask(browser, "(b => [b.left, b.top])(views[1].canvas.getBoundingClientRect())")
    ratio = ask(browser, "views[1].ratio")
    actions = ActionChains(browser)
    actions.w3c_actions.pointer_action.move_to_location(
        round(box[0] + x / ratio), round(box[1] + y / ratio)
    )
    actions.w3c_actions.pointer_action.click()
    actions.perform()
    assert ask(browser, "state.active") == 1
    assert ask(browser, "views[1].k") == ratio


def test_windowing_works_at_full_depth(browser):
    browser.execute_script("show(views[1].info.marks[0].number)")
    wide = canvas(browser, 1)
    centre = tuple(n // 2 for n in wide.shape[:2])
    beside = (centre[0] - 30, centre[1])
    assert (wide[centre] == wide[beside]).all()  # one step of 4,096 cannot be seen
    browser.execute_script(
        "views[1].width = 4; views[1].level = 2000.5; state.overlay = false;"
        "render(views[1]); draw(views[1]);"
    )
    narrow = canvas(browser, 1).astype(int)
    assert narrow[centre][0] - narrow[beside][0] >= 50


def test_a_drag_windows_and_a_shifted_drag_moves(browser):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    element = browser.find_elements("css selector", "canvas")[0]
    width, place = ask(browser, "views[0].width"), ask(browser, "views[0].ox")
    ActionChains(browser).click_and_hold(element).move_by_offset(-80, 40).release().perform()
    assert ask(browser, "views[0].width") < width
    assert ask(browser, "views[0].ox") == place
    width = ask(browser, "views[0].width")
    chain = ActionChains(browser).key_down(Keys.SHIFT).click_and_hold(element)
    chain.move_by_offset(-60, 0).release().key_up(Keys.SHIFT).perform()
    assert ask(browser, "views[0].ox") < place
    assert ask(browser, "views[0].width") == width


def test_the_keyboard_does_it_all(browser):
    from selenium.webdriver.common.keys import Keys

    press(browser, "3")
    assert ask(browser, "state.active") == 2
    k = ask(browser, "views[2].k")
    press(browser, "+")
    assert ask(browser, "views[2].k") > k
    oy = ask(browser, "views[2].oy")
    press(browser, Keys.ARROW_DOWN)
    assert ask(browser, "views[2].oy") < oy
    width = ask(browser, "views[2].width")
    press(browser, "[")
    assert ask(browser, "views[2].width") < width
    press(browser, "n")
    first = ask(browser, "state.finding")
    press(browser, "n")
    assert ask(browser, "state.finding") == first + 1
    press(browser, "p")
    assert ask(browser, "state.finding") == first
    press(browser, "?")
    assert ask(browser, "document.getElementById('help').open")
    press(browser, Keys.ESCAPE)
    assert not ask(browser, "document.getElementById('help').open")
    press(browser, "m")
    assert ask(browser, "document.body.classList.contains('single')")


@pytest.mark.parametrize("key", ["o", "h", "i", "a"])
def test_each_switch_changes_the_picture_and_back(browser, key):
    before = canvas(browser, 1)
    press(browser, key)
    changed = canvas(browser, 1)
    press(browser, key)
    assert (before != changed).any()
    assert (canvas(browser, 1) == before).all()


def test_the_same_finding_in_the_other_view_is_lit(browser):
    number = ask(browser, "views[1].info.marks[0].number")
    fresh = canvas(browser, 3)
    browser.execute_script(f"show({number})")
    assert (canvas(browser, 3) != fresh).any()
    other = ask(browser, "views[0].info.marks[0].number")
    browser.execute_script(f"reset(); show({other})")
    assert (canvas(browser, 3) == fresh).all()


def test_the_heatmap_lies_on_the_finding(browser):
    before = canvas(browser, 1).astype(int)
    press(browser, "h")
    changed = np.abs(canvas(browser, 1).astype(int) - before).sum(axis=2)
    row, col = np.unravel_index(changed.argmax(), changed.shape)
    x, y = ask(browser, "toCanvas(views[1], 1249.5, 649.5)")
    assert np.hypot(row - y, col - x) < 150 * ask(browser, "views[1].k")


def test_it_can_be_used_without_a_mouse(browser):
    from selenium.webdriver.common.keys import Keys

    browser.execute_script("document.activeElement.blur()")
    seen = set()
    for _ in range(40):
        press(browser, Keys.TAB)
        tag = ask(browser, "document.activeElement.tagName + '#' + document.activeElement.id")
        label = ask(
            browser, "document.activeElement.ariaLabel || document.activeElement.textContent"
        )
        assert label or tag.startswith("BODY")
        seen.add(tag.split("#")[0])
    assert {"CANVAS", "BUTTON", "A"} <= seen
