"""Ctrl-C at any moment: one line, exit status 130, nothing half-written."""

import json
import os
import random
import re
import signal
import subprocess
import time

import pytest

from jaxgrad.verify.port.dumps._files import read_run
from tests.cli.processes import ENVIRONMENT, interrupt_after, planted, script, start

pytestmark = pytest.mark.either_lane

PROGRESS = re.compile(r"[A-Z]\d+ .*: agree|\s*\d+% .*|\d+ groups written to .*")
WHOLE_RUN = ("verify", "--case", "F6", "--format", "json")


def assert_interrupted(done: subprocess.CompletedProcess[str], words="interrupted", status=130):
    """One line after the lines of progress, and a report on standard output that is whole or not there."""
    *before, last = done.stderr.splitlines()
    assert (done.returncode, last) == (status, words), done.stderr
    assert [line for line in before if not PROGRESS.fullmatch(line)] == []
    if done.stdout:
        json.loads(done.stdout)


@pytest.fixture(scope="module")
def seconds_of_a_run():
    """How long the whole command takes on this machine, right now."""
    begin = time.monotonic()
    with start("-m", "jaxgrad.cli", *WHOLE_RUN) as process:
        assert json.loads(process.communicate(timeout=300)[0])
    return time.monotonic() - begin


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("k", range(20))
def test_at_twenty_random_moments(k, seconds_of_a_run, tmp_path):
    # a moment in each twentieth of the run; from the script, and by -m
    assert_interrupted_after((k + random.Random(k).random()) / 20 * seconds_of_a_run, k % 2, tmp_path)


@pytest.mark.torch
def test_at_a_moment_among_the_imports(tmp_path):
    # one moment, which no run before it has to time, since the imports alone take seconds
    assert_interrupted_after(random.Random(7).uniform(0.5, 1.5), True, tmp_path)


def assert_interrupted_after(moment, by_script, tmp_path):
    command = [script(tmp_path)] if by_script else ["-m", "jaxgrad.cli"]
    output = tmp_path / "out" / "report.json"
    output.parent.mkdir()
    output.write_text("old")
    while (done := interrupt_after(moment, *command, *WHOLE_RUN, "--output", str(output))) is None:
        moment /= 2
    assert_interrupted(done)
    assert [entry.name for entry in output.parent.iterdir()] == ["report.json"]
    assert output.read_text() == "old" or json.loads(output.read_text())


AT_A_POINT = {
    "a callback of the garbage collector": """
import gc
gc.callbacks.append(lambda *_: "jaxgrad.cli._app" in sys.modules and interrupt())
""",
    "an import": """
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "rich.console":
            interrupt()
sys.meta_path.insert(0, Finder())
""",
    "an import within except BaseException": """
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "jax":
            try:
                interrupt()
            except BaseException:
                pass
sys.meta_path.insert(0, Finder())
""",
    "a destructor": """
class Held:
    def __del__(self):
        interrupt()
import atexit
atexit.register(lambda held=[Held()]: held.clear())
""",
    "the exit": "import atexit; atexit.register(interrupt)",
    "another thread, twice": """
import atexit, threading
def both():
    os.kill(os.getpid(), signal.SIGINT)
    interrupt()
def wait():
    thread = threading.Thread(target=both)
    thread.start()
    thread.join()
atexit.register(wait)
""",
    "a library's own handler": """
import atexit
def take_over():
    signal.signal(signal.SIGINT, lambda *_: None)
    interrupt()
atexit.register(take_over)
""",
    "a library's own file descriptor": """
import atexit
def take_over():
    signal.set_wakeup_fd(-1)
    interrupt()
atexit.register(take_over)
""",
}


# signals are Python's and ours: two moments show that those of another Python arrive
@pytest.mark.parametrize(
    "where",
    [
        pytest.param(where, marks=[] if where in ("an import", "a destructor") else pytest.mark.either_lane)
        for where in AT_A_POINT
    ],
)
def test_within(where):
    # the list of the cases imports next to nothing, the doctor imports JAX
    command = ("doctor",) if "import" in where else ("verify", "--list")
    done = planted(AT_A_POINT[where], *command)
    *_, last = done.stderr.splitlines()
    assert (done.returncode, done.stderr) == (130, "interrupted\n"), last


@pytest.mark.parametrize(("number", "words"), [(15, "terminated"), (1, "the terminal was closed")])
def test_a_polite_kill_and_a_closed_terminal_end_alike(number, words):
    done = planted(f"import atexit; atexit.register(interrupt, number={number})", "--version")
    assert (done.returncode, done.stderr) == (128 + number, words + "\n")


def test_an_interrupt_that_was_ignored_from_the_start_stays_ignored():
    plant = """
import atexit
signal.signal(signal.SIGINT, signal.SIG_IGN)
atexit.register(os.kill, os.getpid(), signal.SIGINT)
"""
    done = planted(plant, "--version")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_dies_alone():
    plant = """
import atexit
def fork():
    child = os.fork()
    if not child:
        time.sleep(60)
    os.kill(child, signal.SIGTERM)
    os._exit(0 if os.waitpid(child, 0)[1] == signal.SIGTERM else 3)
atexit.register(fork)
"""
    assert planted(plant, "--version").returncode == 0


def test_a_process_of_the_users_own_keeps_its_handlers():
    code = "import signal, jaxgrad.cli; print(signal.getsignal(2) is signal.default_int_handler, signal.getsignal(15))"
    with start("-c", code) as process:
        assert process.communicate(timeout=120)[0] == "True 0\n"


@pytest.mark.torch
def test_the_writing_of_a_report(tmp_path):
    report = tmp_path / "report.json"
    report.write_text("old")
    done = planted("os.fsync = interrupt", *WHOLE_RUN, "--output", report)
    assert_interrupted(done)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]
    assert report.read_text() == "old"


SPEC = """
import flax.linen as fnn, jax, numpy as np, torch
{body}
torch.manual_seed(0)
spec = dict(torch=torch.nn.Sequential(torch.nn.Linear(4, 2)).eval(), jax=fnn.Sequential([fnn.Dense(2)]),
            loss="mse", batch=(np.ones((3, 4)), np.zeros((3, 2))))
"""


def spec(folder, body="pass"):
    """Write two small models, in a file that does something first."""
    path = folder / "spec.py"
    path.write_text(SPEC.format(body=body))
    return path


@pytest.mark.torch
def test_the_two_files_of_a_run_are_moved_together(tmp_path):
    plant = """
move = os.replace
def replace(*names):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    move(*names)
os.replace = replace
"""
    run = tmp_path / "new" / "run"
    assert_interrupted(planted(plant, "dump", "torch", spec(tmp_path), "-o", run))
    assert read_run(run)[0]
    assert sorted(entry.name for entry in run.iterdir()) == ["run.json", "tensors.safetensors"]


@pytest.mark.slow
@pytest.mark.torch
def test_a_folder_that_was_made_for_a_run_goes_with_it(tmp_path):
    run = tmp_path / "new" / "run"
    assert_interrupted(planted("os.fsync = interrupt", "dump", "torch", spec(tmp_path), "-o", run))
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "__pycache__"] == ["spec.py"]


def test_a_writer_that_ends_meanwhile_keeps_neither_the_line_nor_what_is_left_from_going(tmp_path):
    """The writer forgets a file while the file is removed: that must not end the list of what is to be removed."""
    plant = """
def folder(name):
    os.rmdir(name)
def file(name):
    _interrupt.unfinished.pop(name)
made = {made!r}
os.mkdir(made)
_interrupt.unfinished.update({{made: folder, made + "/.a.tmp": file}})
interrupt()
"""
    assert_interrupted(planted("from jaxgrad import _interrupt" + plant.format(made=str(tmp_path / "run")), "doctor"))
    assert not any(tmp_path.iterdir())


WORKERS = """
import multiprocessing, time
def wait(file):
    import jaxgrad.cli
    open(file, "w").close()
    time.sleep(60)
if __name__ != "__mp_main__":
    import os, signal, jaxgrad.cli
    for method in ("fork", "spawn"):
        multiprocessing.get_context(method).Process(target=wait, args=(method,)).start()
    while not (os.path.exists("fork") and os.path.exists("spawn")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""


def test_workers_end_with_it_and_say_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = script(tmp_path, WORKERS)
    with start("-W", "ignore", path, "--version") as process:
        # its end closes the last copy of standard error
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


@pytest.mark.slow
@pytest.mark.torch
def test_a_bar_of_progress_makes_way_and_gives_the_cursor_back(monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "TERM", "xterm")
    ours, theirs = os.openpty()
    with start("-m", "jaxgrad.cli", "verify", "--case", "H*", stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while b"\x1b[?25l" not in seen:
            seen += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
    while not seen.endswith(b"interrupted\r\n"):
        seen += os.read(ours, 4096)
    assert seen.endswith(b"\r\x1b[2K\x1b[?25hinterrupted\r\n")


@pytest.mark.torch
def test_code_in_c_that_never_ends(tmp_path):
    body = """
import os, signal, threading
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
jax.block_until_ready(jax.lax.while_loop(lambda i: i >= 0, lambda i: 0 * i, 0))
"""
    assert_interrupted(planted("", "check", spec(tmp_path, body)))


def test_a_report_to_standard_output_is_whole():
    # the reader takes its time; the signal waits for the rest of the report
    plant = """
class Slow:
    def __init__(self, file):
        self.file = file
    def write(self, text):
        for piece in (text[:9], text[9:]):
            self.file.write(piece)
            self.file.flush()
            if piece == text[:9]:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.05)
    def __getattr__(self, name):
        return getattr(self.file, name)
sys.stdout = Slow(sys.stdout)
"""
    done = planted(plant, "doctor", "--format", "json")
    assert_interrupted(done)
    assert json.loads(done.stdout)


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("k", range(10))
@pytest.mark.parametrize("command", ["check", "audit", "dump", "diff", "kinks", "doctor"])
def test_every_command_at_random_moments(command, k, tmp_path):
    (tmp_path / "out").mkdir()
    file, run, output = (str(tmp_path / name) for name in ("spec.py", "run", "out/report.json"))
    spec(tmp_path)
    if command == "diff":
        with start("-m", "jaxgrad.cli", "dump", "torch", file, "-o", run) as process:
            process.communicate(timeout=300)
    rest = {
        "check": [file, "--format", "json", "-o", output],
        "audit": [file, "--format", "json", "-o", output],
        "dump": ["torch", file, "-o", str(tmp_path / "out" / "run")],
        "diff": [run, run, "--format", "json", "-o", output],
        "kinks": ["--format", "json"],
        "doctor": ["--format", "json"],
    }[command]
    moment = random.Random(k).uniform(0, 10)
    while (done := interrupt_after(moment, script(tmp_path), command, *rest)) is None:
        moment /= 2
    assert_interrupted(done)
    for left in (tmp_path / "out").iterdir():
        if left.name == "run":
            assert read_run(left)[0]
        else:
            json.loads(left.read_text())
