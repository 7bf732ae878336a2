# SPDX-License-Identifier: Apache-2.0

"""The second chance of a test that failed: it is used once, it is named, and it hides no defect."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import run

UNSTEADY = """
from pathlib import Path
import pytest
@pytest.mark.parametrize("word", ["a - b", "c"])
def test_the_first_time_is_bad(word):
    mark = Path(__file__).with_name(word)
    first = not mark.exists()
    mark.touch()
    assert not first or word == "c"
"""
UNSTEADY_FIXTURE = """
from pathlib import Path
import pytest
@pytest.fixture(scope="module")
def answer():
    mark = Path(__file__).with_name("asked")
    first = not mark.exists()
    mark.touch()
    assert not first
@pytest.mark.parametrize("number", range(9))
def test_the_answer(answer, number):
    pass
"""
BROKEN = "def test_it_never_works():\n    assert 1 == 2\n"
SOUND = "def test_it_works():\n    pass\n"


def stage(folder, name="sim", **files):
    for module, text in files.items():
        (folder / f"test_{module}.py").write_text(text)
    config = ["-c", str(run.ROOT / "pyproject.toml"), "-o", f"cache_dir={folder / 'cache'}"]
    return run.Stage(name, "a try", ([*run.PYTEST, *config, str(folder)],))


@pytest.fixture
def env():
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}


def test_what_passes_when_run_again_is_named(tmp_path, env, capsys):
    outcome = run.run_stage(stage(tmp_path, unsteady=UNSTEADY, sound=SOUND), env)
    assert outcome.ok
    assert outcome.counts == {"passed": 3}
    assert [name.split("::")[1] for name in outcome.again] == ["test_the_first_time_is_bad[a - b]"]
    told = run.summary([outcome])
    assert f"passed again: {outcome.again[0]}" in told
    assert told.endswith("3 passed, 0 failed, 0 skipped")
    assert "1 failed: again, alone" in capsys.readouterr().out


def test_a_fixture_that_fails_once_is_one_accident(tmp_path, env, capsys):
    outcome = run.run_stage(stage(tmp_path, fixture=UNSTEADY_FIXTURE, sound=SOUND), env)
    assert outcome.ok
    assert outcome.counts == {"passed": 10}
    assert len(outcome.again) == 9 > run.MAY_FAIL
    assert "9 failed: again, alone" in capsys.readouterr().out


def test_what_fails_twice_fails_and_so_does_all_beside_it(tmp_path, env):
    outcome = run.run_stage(stage(tmp_path, unsteady=UNSTEADY, broken=BROKEN), env)
    assert not outcome.ok
    assert outcome.again == ()
    assert outcome.counts == {"passed": 1, "failed": 2}


@pytest.mark.parametrize(("name", "once"), [("sim", True), ("unit", False)])
def test_there_is_no_second_chance_where_none_is_given(tmp_path, env, name, once):
    outcome = run.run_stage(stage(tmp_path, name, unsteady=UNSTEADY), env, once)
    assert not outcome.ok
    assert outcome.counts == {"passed": 1, "failed": 1}


def test_many_failures_are_not_run_again(tmp_path, env, capsys):
    many = "".join(BROKEN.replace("never", f"never_{n}_") for n in range(run.MAY_FAIL + 1))
    outcome = run.run_stage(stage(tmp_path, many=many), env)
    assert not outcome.ok
    assert "again" not in capsys.readouterr().out


def test_tests_that_did_not_run_are_no_accident(tmp_path, env, capsys):
    outcome = run.run_stage(
        stage(tmp_path, unsteady=UNSTEADY, stops="import pytest\ndef test_it():\n    pytest.exit('over')\n", zz=SOUND),
        env,
    )
    assert not outcome.ok
    assert "again" not in capsys.readouterr().out


def test_a_module_that_cannot_be_read_is_a_failure(tmp_path, env):
    outcome = run.run_stage(stage(tmp_path, unreadable="import nowhere\n", sound=SOUND), env)
    assert not outcome.ok
