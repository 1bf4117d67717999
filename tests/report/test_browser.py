"""Pages in a real browser: nothing wider than the window, no error."""

import shutil

import pytest

from informed_recon import stages
from tests.stages.test_convex import _config as convex_config

webdriver = pytest.importorskip("selenium.webdriver")
CHROME, DRIVER = map(shutil.which, ("chromium", "chromedriver"))
WIDER = """
return [...document.querySelectorAll("body *")].filter(e => {
  const box = e.getBoundingClientRect();
  return box.right > innerWidth + 1 || box.left < -1;
}).map(e => e.outerHTML.slice(0, 80));
"""
# Text that its own box cuts off.
CUT = """
return [...document.querySelectorAll("p, td, th, li, h1, h2, figcaption")]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth)
  .map(e => e.outerHTML.slice(0, 80));
"""


@pytest.fixture(scope="module")
def browser():
  if not (CHROME and DRIVER):
    pytest.skip("needs Debian's chromium and chromium-driver")
  options = webdriver.ChromeOptions()
  options.binary_location = CHROME
  for flag in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars"):
    options.add_argument(f"--{flag}")
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  service = webdriver.ChromeService(DRIVER)
  try:
    driver = webdriver.Chrome(options=options, service=service)
  except Exception as error:  # such as under a limit of address space
    pytest.skip(f"the browser does not start: {type(error).__name__}")
  yield driver
  driver.quit()


@pytest.fixture(scope="module", params=["images", "rows"])
def page(request, tmp_path_factory):
  if request.param == "images":
    return request.getfixturevalue("finished") / "report.html"
  workdir = tmp_path_factory.mktemp("rows")
  config = convex_config()
  config.stages = ("convex", "evaluate", "report")
  config.data.update(source="tabular", name="wine")
  config.split.update(accuracy=20, targets=8, fixed=60)
  stages.run(config, workdir)
  return workdir / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 800, 1200])
def test_a_page_fits_its_window(browser, page, width, scheme):
  browser.execute_cdp_cmd(
    "Emulation.setDeviceMetricsOverride",
    dict(width=width, height=900, deviceScaleFactor=1, mobile=False),
  )
  feature = dict(name="prefers-color-scheme", value=scheme)
  browser.execute_cdp_cmd(
    "Emulation.setEmulatedMedia", dict(features=[feature])
  )
  browser.get(page.as_uri())
  assert browser.execute_script(WIDER) == []
  assert browser.execute_script(CUT) == []
  assert browser.get_log("browser") == []
  pictures = browser.find_elements("tag name", "img")
  assert pictures and all(p.get_attribute("alt") for p in pictures)
  assert all(int(p.get_property("naturalWidth")) for p in pictures)
  paper = browser.execute_script(
    "return getComputedStyle(document.body).backgroundColor"
  )
  assert (paper == "rgb(250, 250, 250)") == (scheme == "light")


def test_an_element_that_is_too_wide_is_seen(browser, page):
  browser.get(page.as_uri())
  browser.execute_script("document.querySelector('h1').style.width = '3000px'")
  assert browser.execute_script(WIDER)
