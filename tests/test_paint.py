"""The page on which one tries an inpainting model: its server, its process, and the page in a real browser."""

import http.client
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from files import HEIGHT, WIDTH, bad_files, encode, good_files, photograph, photograph16
from PIL import Image
from runs import ROOT, environment
from werkzeug.test import Client

from darkroom.__main__ import main as darkroom
from darkroom.cli import paint
from darkroom.core.errors import DarkroomError, DataError
from darkroom.data.images import Picture, read
from darkroom.ui import painter as painter_module
from darkroom.ui import server as server_module
from darkroom.ui.painter import Painter, decode, lay_over
from darkroom.ui.server import Application, Server, first_photograph

PORT = 4321
HOST = f"127.0.0.1:{PORT}"


class Fake:
    """Finds an edge in each tenth column, ever surer of them to the right; fills with a colour, or along edges gray."""

    colour = (10, 200, 30)

    def __init__(self):
        self.calls = []

    def edges(self, image, hole, known=None, sigma=2.0):
        self.calls.append(("edges", image, hole, known))
        edges = np.broadcast_to(lines(hole.shape[1]), hole.shape)
        return edges if known is None else np.where(hole, np.maximum(edges, known), edges)

    def fill(self, image, hole, edges):
        self.calls.append(("fill", image, hole, edges))
        return np.where(hole[:, :, None], painted(edges), image)


def lines(width):
    columns = np.arange(width)
    return np.where(columns % 10 == 0, np.minimum(50 + columns * 2, 255), 0).astype(np.uint8)


def painted(edges):
    """(H, W, 3): gray as far as there are edges, else the colour."""
    return np.where(edges[:, :, None] > 0, edges[:, :, None], np.array(Fake.colour, np.uint8))


class Page:
    """A page of ours without a browser."""

    def __init__(self, max_side=1024, first=None, inpainter=None):
        self.fake = inpainter or Fake()
        self.application = Application(Painter(self.fake, max_side), PORT, first)
        self.client = Client(self.application)

    def get(self, name="", token=None, **headers):
        return self.client.get(f"/{token or self.application.token}/{name}", headers={"Host": HOST, **headers})

    def post(self, name, token=None, headers=None, **files):
        data = {field: (io.BytesIO(contents), field) for field, contents in files.items()}
        headers = {"Host": HOST, "Origin": f"http://{HOST}"} if headers is None else headers
        return self.client.post(f"/{token or self.application.token}/{name}", data=data, headers=headers)


def decoded(response):
    assert response.status_code == 200, response.text
    assert response.mimetype == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.data)))


def drawing(height=HEIGHT, width=WIDTH, *boxes):
    """A PNG as the page draws it, white in ``boxes`` (top, bottom, left, right); and the same as bool."""
    drawn = np.zeros((height, width), bool)
    for top, bottom, left, right in boxes:
        drawn[top:bottom, left:right] = True
    rgba = np.dstack([np.where(drawn[:, :, None], 255, 0).repeat(3, axis=2), np.full(drawn.shape, 255)])
    return encode(rgba.astype(np.uint8), "PNG"), drawn


@pytest.fixture
def page():
    return Page()


# ---- what is computed


def test_a_fill_changes_the_hole_and_nothing_else(page):
    image = photograph()
    mask, hole = drawing(HEIGHT, WIDTH, (5, 20, 7, 40), (30, 46, 50, 61))
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    drawn[8:10] = np.arange(WIDTH) * 4
    edges = encode(np.dstack([drawn, drawn, drawn, np.full_like(drawn, 255)]), "PNG")
    result = decoded(page.post("fill", photograph=encode(image, "PNG"), mask=mask, edges=edges))
    expected = image.copy()
    for y, x in np.argwhere(hole):
        expected[y, x] = [drawn[y, x]] * 3 if drawn[y, x] else Fake.colour
    assert np.array_equal(result, expected)
    name, seen, seen_hole, seen_edges = page.fake.calls[0]
    assert name == "fill"
    assert seen.dtype == np.uint8
    assert np.array_equal(seen, image)
    assert seen_hole.dtype == bool
    assert np.array_equal(seen_hole, hole)
    assert seen_edges.dtype == np.uint8
    assert np.array_equal(seen_edges, drawn), "as sure as they were"


def test_pixels_outside_stay_even_if_a_model_changes_them():
    class Careless(Fake):
        def fill(self, image, hole, edges):
            return np.full_like(image, 77)

    image = photograph()
    mask, hole = drawing(HEIGHT, WIDTH, (0, 9, 0, 9))
    sent = {"photograph": encode(image, "PNG"), "mask": mask, "edges": drawing()[0]}
    result = decoded(Page(inpainter=Careless()).post("fill", **sent))
    assert np.array_equal(result, np.where(hole[:, :, None], 77, image))


def test_edges_are_predicted_with_those_that_are_drawn(page):
    image = encode(photograph(), "PNG")
    mask, hole = drawing(HEIGHT, WIDTH, (5, 20, 7, 40))
    strokes, drawn = drawing(HEIGHT, WIDTH, (10, 12, 0, 61))
    result = decoded(page.post("edges", photograph=image, mask=mask, edges=strokes))
    assert np.array_equal(result, np.where(drawn & hole, 255, lines(WIDTH)))
    assert np.array_equal(page.fake.calls[0][3], drawn * np.uint8(255))
    assert page.fake.calls[0][3].dtype == np.uint8
    decoded(page.post("edges", photograph=image, mask=mask, edges=drawing()[0]))
    assert page.fake.calls[1][3] is None, "nothing was drawn"


@pytest.mark.parametrize("name", [*good_files()])
def test_any_photograph_that_people_have(name, page):
    """Shown as the model sees it, filled in its own depth and with its transparency."""
    data, pixels, alpha = good_files()[name]
    height, width = pixels.shape[:2]
    mask, hole = drawing(height, width, (3, 12, 5, 25))
    answer = page.post("show", photograph=data)
    bytes_ = np.round(pixels / 257) if pixels.dtype == np.uint16 else pixels
    assert np.array_equal(decoded(answer), np.broadcast_to(bytes_, (height, width, 3)))
    assert answer.headers["X-Size"] == f"{width} {height}"
    filled = page.post("fill", photograph=data, mask=mask, edges=drawing(height, width)[0])
    result = decode(filled.data, "the fill")
    factor = 257 if pixels.dtype == np.uint16 else 1
    expected = np.where(hole[:, :, None], np.array(Fake.colour) * factor, pixels)
    assert result.pixels.dtype == pixels.dtype
    assert np.array_equal(result.pixels, expected)
    if alpha is None:
        assert result.alpha is None
    else:
        assert np.array_equal(result.alpha, np.where(hole, np.iinfo(alpha.dtype).max, alpha))


def test_a_large_photograph_is_seen_small_and_filled_large():
    image = photograph16(150, 100)
    page, data = Page(max_side=64), good_png16(image)
    answer = page.post("show", photograph=data)
    seen = decoded(answer)
    assert seen.shape == (64, 43, 3)
    assert answer.headers["X-Size"] == "100 150"
    assert abs(seen.mean() - image.mean() / 257) < 1
    mask, hole = drawing(64, 43, (10, 30, 5, 20), (63, 64, 42, 43))
    filled = page.post("fill", photograph=data, mask=mask, edges=drawing(64, 43)[0])
    result = decode(filled.data, "the fill").pixels
    assert np.array_equal(page.fake.calls[-1][1], seen), "the model is given what the page shows"
    inside = np.array(
        [[hole[int((y + 0.5) * 64 / 150), int((x + 0.5) * 43 / 100)] for x in range(100)] for y in range(150)]
    )
    assert np.array_equal(result[~inside], image[~inside])
    core = inside & (
        np.roll(inside, 12, 0) & np.roll(inside, -12, 0) & np.roll(inside, 12, 1) & np.roll(inside, -12, 1)
    )
    assert core.sum() > 100
    assert (result[core] == np.array(Fake.colour) * 257).all(), "far from the rim no photograph shines through"


def test_a_photograph_is_made_smaller_by_averaging():
    image = photograph(128, 96)
    seen = decoded(Page(max_side=64).post("show", photograph=encode(image, "PNG")))
    blocks = image.reshape(64, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(seen - blocks).max() <= 0.5


def good_png16(image):
    import cv2

    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


def test_a_fill_is_enlarged_smoothly():
    picture = Picture(np.zeros((40, 40, 3), np.uint8))
    ramp = np.broadcast_to((np.arange(10, dtype=np.uint8) * 20)[None, :, None], (10, 10, 3))
    result = lay_over(picture, np.ascontiguousarray(ramp), np.ones((10, 10), bool)).pixels[20, 6:-6, 0]
    assert np.abs(result - (np.arange(6, 34) * 5 - 7.5)).max() <= 1


# ---- what is refused, in words


@pytest.mark.parametrize("name", [*bad_files()])
def test_a_damaged_photograph_is_refused_in_words(name, page):
    answer = page.post("show", photograph=bad_files()[name])
    assert answer.status_code == 400
    assert answer.text.startswith("the photograph cannot be read: ")
    assert "darkroom-paint" not in answer.text, "names a file that the user never saw"
    assert answer.mimetype == "text/plain"


def test_strokes_that_do_not_fit_are_refused(page):
    image, (fits, _), (small, _) = encode(photograph(), "PNG"), drawing(), drawing(9, 8, (0, 2, 0, 2))
    masked, _ = drawing(HEIGHT, WIDTH, (0, 5, 0, 5))
    answer = page.post("edges", photograph=image, mask=small, edges=fits)
    assert answer.status_code == 400
    assert answer.text.startswith(f"the mask: expected {WIDTH} x {HEIGHT} pixels, as the page shows, found 8 x 9")
    assert "the edges: expected" in page.post("fill", photograph=image, mask=masked, edges=small).text
    assert "the edges cannot be read: " in page.post("fill", photograph=image, mask=masked, edges=b"no").text
    for name in ("edges", "fill"):
        assert page.post(name, photograph=image, mask=fits, edges=fits).text.startswith("nothing is masked: ")
    missing = page.post("fill", photograph=image, mask=fits)
    assert missing.status_code == 400
    assert missing.text == "expected a file 'edges' in the request, found ['mask', 'photograph']"
    assert page.fake.calls == []


def test_uploads_have_a_limit(page, monkeypatch):
    monkeypatch.setattr(server_module._Limited, "max_content_length", 5000)
    assert page.post("show", photograph=encode(photograph(8, 8), "PNG")).status_code == 200
    answer = page.post("show", photograph=bytes(6000))
    assert answer.status_code == 413
    assert answer.text == "expected at most 64 MiB; make the photograph smaller first"


def test_a_small_file_that_unfolds_is_refused_before_it_is_decoded(page, monkeypatch):
    bomb = encode(Image.new("1", (12000, 9000)), "PNG")
    assert len(bomb) < 100_000
    monkeypatch.setattr(painter_module, "read", lambda path: pytest.fail("decoded"))
    answer = page.post("show", photograph=bomb)
    assert answer.status_code == 400
    assert answer.text == (
        "the photograph has 12000 x 9000 pixels: expected at most 100 million; make it smaller first"
    )


def test_only_our_page_is_answered(page):
    sent = {"photograph": encode(photograph(), "PNG")}
    ours = {"Host": HOST, "Origin": f"http://{HOST}"}
    local = {"Host": f"localhost:{PORT}", "Origin": f"http://localhost:{PORT}"}
    assert page.post("show", headers=ours, **sent).status_code == 200
    assert page.post("show", headers=local, **sent).status_code == 200
    other = page.application.token[:-1] + ("a" if page.application.token[-1] != "a" else "b")
    for token in (other, "x", "ä", "show"):
        refused = page.post("show", token=token, **sent)
        assert refused.status_code == 403
        assert "the whole address that the terminal shows" in refused.text
        assert page.get(token=token).status_code == 403
    assert page.client.get("/", headers={"Host": HOST}).status_code == 403
    assert page.client.get(f"/{page.application.token}", headers={"Host": HOST}).status_code == 403
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"https://{HOST}", f"http://localhost:{PORT}"):
        refused = page.post("show", headers={"Host": HOST, "Origin": origin}, **sent)
        assert (refused.status_code, refused.text) == (403, "this was sent by another page")
    assert page.post("show", headers={"Host": HOST}, **sent).status_code == 403
    rebound = {"Host": f"evil.example:{PORT}", "Origin": f"http://evil.example:{PORT}"}
    assert page.post("show", headers=rebound, **sent).status_code == 403
    assert page.get(Host="evil.example").status_code == 403
    assert page.get("../server.py").status_code == 404
    assert page.get("server.py").status_code == 404
    assert page.post("", **sent).status_code == 404


def test_tokens_are_new_each_time_and_long():
    tokens = {Page().application.token for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 20


def test_what_fails_inside_is_told_too(capsys):
    class Broken(Fake):
        def edges(self, image, hole, known=None, sigma=2.0):
            raise RuntimeError("out of memory")

    answer = Page(inpainter=Broken()).post(
        "edges",
        photograph=encode(photograph(), "PNG"),
        mask=drawing(HEIGHT, WIDTH, (0, 5, 0, 5))[0],
        edges=drawing()[0],
    )
    assert answer.status_code == 500
    assert answer.text == "the model failed, the terminal shows where: RuntimeError: out of memory"
    assert "Traceback" in capsys.readouterr().err


def test_one_computation_at_a_time():
    class Slow(Fake):
        def __init__(self):
            super().__init__()
            self.entered, self.leave, self.inside, self.most = threading.Event(), threading.Event(), 0, 0

        def edges(self, image, hole, known=None, sigma=2.0):
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.entered.set()
            assert self.leave.wait(60)
            self.inside -= 1
            return np.zeros(hole.shape, np.uint8)

    page = Page(inpainter=Slow())
    mask, _ = drawing(HEIGHT, WIDTH, (0, 5, 0, 5))
    sent = {"photograph": encode(photograph(), "PNG"), "mask": mask, "edges": drawing()[0]}
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(page.post("edges", **sent))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert page.fake.entered.wait(60)
    assert page.get().status_code == 200, "the page itself does not wait"
    threads[0].join(0.3)
    assert answers == []
    page.fake.leave.set()
    for thread in threads:
        thread.join(60)
    assert [a.status_code for a in answers] == [200] * 3
    assert page.fake.most == 1


# ---- the page


def test_the_page_and_the_first_photograph():
    page = Page(first=("Käse & Brot.png", b"the bytes"))
    for name, kind in (("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")):
        answer = page.get(name)
        assert (answer.status_code, answer.mimetype) == (200, kind)
        assert answer.data == (ROOT / "codes/darkroom/ui" / (name or "page.html")).read_bytes()
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    answer = page.get("first")
    assert answer.data == b"the bytes"
    assert answer.headers["X-Name"] == "K%C3%A4se%20%26%20Brot.png"
    assert Page().get("first").status_code == 204


def test_the_page_needs_nothing_from_elsewhere():
    for name in ("page.html", "page.js", "page.css"):
        text = (ROOT / "codes/darkroom/ui" / name).read_text(encoding="utf-8")
        assert not re.search(r"https?:|//[^ \n]", text), name
        assert len(text.splitlines()) < 300


# ---- the command


def test_the_photograph_to_begin_with(tmp_path, monkeypatch):
    good = tmp_path / "a.png"
    good.write_bytes(encode(photograph(), "PNG"))
    assert first_photograph(good) == ("a.png", good.read_bytes())
    with pytest.raises(DataError, match=r"missing\.png: no such file"):
        first_photograph(tmp_path / "missing.png")
    bad = tmp_path / "bad.png"
    bad.write_bytes(good.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"bad\.png cannot be read: "):
        first_photograph(bad)
    monkeypatch.setattr(server_module, "MAX_UPLOAD", 1000)
    with pytest.raises(DataError, match="expected at most 0 MiB"):
        first_photograph(good)


def test_a_port_that_is_taken():
    with Server(Painter(Fake()))._server as taken, pytest.raises(DarkroomError, match="in use; choose"):
        Server(Painter(Fake()), taken.port)


def test_the_server_is_for_this_machine_alone():
    with Server(Painter(Fake()))._server as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"
    flags = {flag for action in paint.parser()._actions for flag in action.option_strings}
    assert not {"--host", "--bind", "--address", "--listen"} & flags


def test_help_has_an_example_and_the_tool_is_listed(capsys):
    with pytest.raises(SystemExit, match="0"):
        paint.main(["--help"])
    assert "python -m darkroom paint --path checkpoints/places2" in capsys.readouterr().out
    assert darkroom([]) == 0
    assert "  paint " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--path"),
        (["--path", "m", "--max-side", "63"], "expected 64 or more, found 63"),
        (["--path", "m", "--port", "65536"], "expected 1 to 65535, found 65536"),
    ],
)
def test_wrong_command_lines(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        paint.main(arguments)
    assert message in capsys.readouterr().err


def test_without_the_package_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(paint, "find_spec", lambda name: None)
    assert paint.main(["--path", "m"]) == 1
    assert capsys.readouterr().err == "error: the page needs the package Werkzeug: pip install werkzeug\n"


DRIVER = """
    import sys, threading, types
    from test_paint import Fake
    fake = types.ModuleType("darkroom.build.inpainting")
    class Endless(Fake):
        def edges(self, image, hole, known=None, sigma=2.0):
            print("computing for ever", flush=True)
            threading.Event().wait()
    def load_inpainter(path, device):
        assert (str(path), str(device)) == ("models", "cpu")
        return Endless()
    fake.load_inpainter = load_inpainter
    sys.modules["darkroom.build.inpainting"] = fake
    from darkroom.cli.paint import main
    raise SystemExit(main(sys.argv[1:]))
"""


@pytest.fixture
def served(tmp_path):
    """Starts the command in a process of its own, with the fake for a model: gives it and the page's address."""
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER), encoding="utf-8")
    started = []

    def run(*arguments):
        command = [sys.executable, script, "--path", "models", "--no-browser", "--device", "cpu", *arguments]
        paths = os.pathsep.join([str(ROOT / "codes"), str(ROOT / "tests")])
        process = subprocess.Popen(
            [*map(str, command)], env={**environment(), "PYTHONPATH": paths}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        while line := process.stdout.readline():
            if line.startswith("The page: "):
                return process, line.removeprefix("The page: ").strip()
        raise AssertionError(process.stderr.read())

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_a_real_process_serves_and_ends_quietly(served, tmp_path):
    image = photograph()
    path = tmp_path / "photo.png"
    path.write_bytes(encode(image, "PNG"))
    process, url = served("--image", path)
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert b"<title>Darkroom: paint</title>" in answer.read()
    with urllib.request.urlopen(f"{url}first", timeout=60) as answer:
        assert answer.read() == path.read_bytes()
    mask, hole = drawing(HEIGHT, WIDTH, (5, 20, 7, 40))
    body, kind = multipart(photograph=path.read_bytes(), mask=mask, edges=drawing()[0])
    origin = url.rpartition("/")[0].rpartition("/")[0]
    request = urllib.request.Request(f"{url}fill", body, {"Content-Type": kind, "Origin": origin})
    with urllib.request.urlopen(request, timeout=60) as answer:
        result = np.asarray(Image.open(answer))
    assert np.array_equal(result, np.where(hole[:, :, None], Fake.colour, image))
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{origin}/", timeout=60)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "Stopped.\n")


def test_it_ends_on_the_spot_in_the_middle_of_a_computation(served, tmp_path):
    process, url = served()
    sent = {
        "photograph": encode(photograph(3, 5), "PNG"),
        "mask": drawing(3, 5, (0, 1, 0, 1))[0],
        "edges": drawing(3, 5)[0],
    }
    body, kind = multipart(**sent)
    request = urllib.request.Request(
        f"{url}edges", body, {"Content-Type": kind, "Origin": url[: url.rindex("/", 0, -1)]}
    )

    def ask():
        with pytest.raises((OSError, http.client.HTTPException)):
            urllib.request.urlopen(request, timeout=300)

    thread = threading.Thread(target=ask)
    thread.start()
    while process.stdout.readline() != "computing for ever\n":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    thread.join(60)
    assert (process.returncode, printed) == (130, "Stopped.\n")
    assert not thread.is_alive()


def test_a_request_beyond_the_limit_gets_its_answer_over_a_real_connection(served):
    """A server that closes the connection in the middle of an upload shows no message in a browser."""
    process, url = served()
    host, token = url.split("/")[2:4]
    connection = http.client.HTTPConnection(host, timeout=60)
    headers = {"Origin": f"http://{host}", "Content-Type": "multipart/form-data; boundary=x"}
    connection.request("POST", f"/{token}/show", bytes(65 * 2**20), headers)
    answer = connection.getresponse()
    assert (answer.status, answer.read()[:26]) == (413, b"expected at most 64 MiB; m")
    assert process.poll() is None


def multipart(**files):
    """The body of a form, and its kind."""
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\n%s\r\n' % (name.encode(), contents)
        for name, contents in files.items()
    ]
    return b"".join(parts) + b"--x--\r\n", "multipart/form-data; boundary=x"


# ---- in a browser


@pytest.fixture
def browser():
    """A real one, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        names = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
        own = started.chromium.executable_path
        path = own if Path(own).exists() else next(filter(None, map(shutil.which, names)), None)
        if path is None:
            pytest.skip("Chromium is not installed")
        chromium = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Visit:
    """The page in the browser, and the fake behind it."""

    def __init__(self, page, fake, url):
        self.page, self.fake, self.url = page, fake, url
        self.wrong = []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("requestfailed", lambda request: self.wrong.append(request.url))
        page.on("console", lambda line: self.wrong.append(line.text) if line.type == "error" else None)
        page.on("request", lambda r: None if r.url.startswith((url, "blob:", "data:")) else self.wrong.append(r.url))
        page.goto(url)

    def says(self, text):
        self.page.wait_for_function(
            """words => document.body.ariaBusy !== "true"
                && document.getElementById("message").textContent.includes(words)""",
            arg=text,
        )

    def draw(self, tool, *points, size=None):
        """With the mouse, through ``points`` (x, y) of the image that the model sees."""
        self.page.check(f"input[value={tool}]")
        if size is not None:
            self.page.locator("#size").fill(str(size))
        box = self.page.locator("#edge-layer").bounding_box()
        scale = box["width"] / self.page.evaluate("document.getElementById('edge-layer').width")
        places = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places:
            self.page.mouse.move(*place, steps=4)
        self.page.mouse.up()

    def click(self, name, says=""):
        self.page.get_by_role("button", name=name, exact=True).click()
        self.says(says)

    def fill(self):
        """Press Fill; the hole and the edges that the model is given."""
        self.click("Fill", "Filled")
        name, _, hole, edges = self.fake.calls[-1]
        assert name == "fill"
        return hole, edges

    def downloaded(self, folder):
        with self.page.expect_download() as info:
            self.page.get_by_text("Download").click()
        info.value.save_as(folder / "downloaded.png")
        return info.value.suggested_filename, read(folder / "downloaded.png").pixels


@pytest.fixture
def visit(browser):
    """Opens the page of a server in this process; nothing may go wrong unseen in it."""
    ends, visits = [], []

    def start(image=None, max_side=1024):
        fake = Fake()
        first = None if image is None else ("photo.one.png", encode(image, "PNG"))
        server = Server(Painter(fake, max_side), first=first)
        thread = threading.Thread(target=server._server.serve_forever, args=(0.05,))
        thread.start()
        ends.append((server._server, thread))
        visits.append(Visit(browser.new_page(viewport={"width": 1200, "height": 800}), fake, server.url))
        return visits[-1]

    yield start
    for server, thread in ends:
        server.shutdown()
        thread.join()
    assert [wrong for one in visits for wrong in one.wrong] == []


def near(height, width, y, x, radius):
    """Where a round brush that was pressed once has painted, (H, W) bool, but for its rim."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    distance = np.hypot(rows - y, columns - x)
    return distance < radius - 1, distance > radius + 1


def test_in_a_browser_a_mask_is_drawn_and_the_fill_is_seen(visit, tmp_path):
    image = photograph(100, 800)  # wider than half of the window, so that it is shown smaller than it is
    tab = visit(image)
    tab.says("photo.one.png: 800 x 100")
    assert tab.page.locator("#filled").is_hidden()
    assert tab.page.locator("#photograph").bounding_box()["width"] < 700
    tab.draw("mask", (500, 40), size=30)
    hole, edges = tab.fill()
    inside, outside = near(100, 800, 40, 500, 15)
    assert inside.sum() > 500
    assert hole[inside].all()
    assert not hole[outside].any()
    assert np.array_equal(edges, np.broadcast_to(lines(800), (100, 800))), "predicted unasked"
    shown = tab.page.evaluate("""() => {
        const image = document.getElementById("result");
        const context = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext("2d");
        context.drawImage(image, 0, 0);
        return [...context.getImageData(0, 0, image.naturalWidth, image.naturalHeight).data];
    }""")
    expected = np.where(hole[:, :, None], painted(edges), image)
    assert np.array_equal(np.reshape(shown, (100, 800, 4))[:, :, :3], expected)
    boxes = [tab.page.locator(name).bounding_box() for name in ("#photograph", "#result")]
    assert boxes[0]["y"] == boxes[1]["y"], "beside each other"
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    name, pixels = tab.downloaded(tmp_path)
    assert name == "photo.one_filled.png"
    assert np.array_equal(pixels, expected)
    tab.draw("unmask", (500, 40), size=40)
    tab.click("Fill", "nothing is masked: draw a mask")
    assert "error" in tab.page.locator("#message").get_attribute("class")
    tab.wrong = [line for line in tab.wrong if "400" not in line]


def test_in_a_browser_edges_are_drawn_erased_and_undone(visit):
    tab = visit(np.zeros((100, 160, 3), np.uint8))
    tab.says("160 x 100")
    tab.draw("mask", (40, 20), (120, 20), size=30)
    tab.draw("edge", (40, 15), (120, 15), size=4)
    tab.click("Edges", "mend them")
    known = tab.fake.calls[-1][3] > 0
    assert known[14:16, 41:119].all()
    assert not known[19:].any()
    tab.draw("edge", (5, 80), (155, 80), size=6)
    tab.draw("erase", (60, 5), (60, 95), size=8)
    hole, edges = tab.fill()
    assert hole[10:30, 40:120].all()
    assert not hole[40:].any()
    assert [call[0] for call in tab.fake.calls] == ["edges", "fill"], "the edges are still those of this mask"
    predicted = np.where(hole & known, 255, lines(160))
    expected = predicted.copy()
    expected[78:82, 6:154] = 255
    expected[5:95, 57:63] = 0
    certain = np.ones(hole.shape, bool)
    certain[[11, 12, 13, 16, 17, 18, 76, 77, 82, 83]] = False  # rims of the brush
    certain[:, [54, 55, 56, 63, 64, 65]] = False
    certain[11:19, [*range(36, 42), *range(118, 124)]] = False
    certain[76:84, [*range(2, 6), *range(154, 160)]] = False
    certain[:6, 54:66] = certain[94:, 54:66] = False
    assert np.array_equal(edges[certain], expected[certain])
    for _ in range(2):  # the eraser and the long stroke
        tab.click("Undo")
    assert np.array_equal(tab.fill()[1][certain], predicted[certain])
    tab.page.keyboard.press("Control+z")  # the stroke that the model knew of: its prediction goes too
    hole, edges = tab.fill()
    assert np.array_equal(edges, np.broadcast_to(lines(160), (100, 160)))
    assert [call[0] for call in tab.fake.calls[-2:]] == ["edges", "fill"]
    assert tab.fake.calls[-2][3] is None
    tab.draw("erase", (60, 60), (100, 60), size=8)
    tab.draw("edge", (85, 60), size=4)
    edges = tab.fill()[1]
    assert (edges[59:61, 84:86] == 255).all(), "drawn anew where one was erased"
    assert edges[60, 70] == 0
    tab.draw("mask", (80, 80), size=10)
    hole = tab.fill()[0]
    assert hole[80, 80]
    assert [call[0] for call in tab.fake.calls[-2:]] == ["edges", "fill"], "another mask, other edges"
    tab.click("Clear")
    assert not tab.page.evaluate("""() => {
        const layer = document.getElementById("edge-layer");
        return layer.getContext("2d").getImageData(0, 0, layer.width, layer.height).data.some(Boolean);
    }""")
    tab.click("Edges", "nothing is masked")
    tab.wrong = [line for line in tab.wrong if "400" not in line]
    tab.click("Undo")
    assert np.array_equal(tab.fill()[0], hole), "what was cleared is back"


def test_in_a_browser_a_large_photograph_is_chosen_dropped_or_refused(visit, tmp_path):
    image = photograph(300, 200)
    path = tmp_path / "large.png"
    path.write_bytes(encode(image, "PNG"))
    bad = tmp_path / "bad.png"
    bad.write_bytes(path.read_bytes()[:-50])
    tab = visit(max_side=96)
    assert tab.page.get_by_role("button", name="Fill").is_disabled()
    tab.page.set_input_files("#file", path)
    tab.says("large.png: 200 x 300. The model sees 64 x 96")
    tab.draw("mask", (32, 48), size=20)
    hole, _ = tab.fill()
    assert hole.shape == (96, 64)
    _, pixels = tab.downloaded(tmp_path)
    inside, _ = near(300, 200, 150, 100, 10 * 300 / 96)
    assert pixels.shape == image.shape
    changed = (pixels != image).any(axis=2)
    assert not changed[near(300, 200, 150, 100, 10 * 300 / 96 + 4)[1]].any()
    assert changed[inside].mean() > 0.99
    tab.page.set_input_files("#file", bad)
    tab.says("the photograph cannot be read: ")
    assert tab.page.locator("#result").is_visible(), "what was there stays"
    tab.wrong = [line for line in tab.wrong if "400" not in line]
    tab.page.evaluate(
        """numbers => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(numbers)], "dropped.png"));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        [*encode(photograph(40, 50), "PNG")],
    )
    tab.says("dropped.png: 50 x 40")
    assert tab.page.locator("#result").is_hidden()
