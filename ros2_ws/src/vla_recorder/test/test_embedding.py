# SPDX-License-Identifier: Apache-2.0

"""Embeddings of the instruction: placeholders that say so, programs and plug-ins that are checked."""

import sys
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
from vla_recorder.formats import embedding
from vla_recorder.formats.embedding import EmbeddingError, make_embedder


def test_zeros_are_marked():
    zeros = make_embedder("zeros")
    assert "placeholder" in zeros.source
    values = zeros.embed("lift")
    assert (values.shape, values.dtype, bool(values.any())) == ((512,), np.float32, False)


def test_the_hash_tells_tasks_apart_and_never_changes():
    hashed = make_embedder("hash")
    assert "placeholder" in hashed.source
    first, again, other = hashed.embed("lift"), make_embedder("hash").embed("lift"), hashed.embed("drop")
    np.testing.assert_array_equal(first, again)
    assert abs(float(first @ other)) < 0.2
    assert first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first), 1, rtol=1e-6)
    np.testing.assert_allclose(first[:3], [0.03293294, -0.0407676, -0.02469584], rtol=1e-5)


def command(tmp_path, body):
    """An embedder of a little program."""
    script = tmp_path / "embed program.py"
    script.write_text(f"import sys\ntext = sys.stdin.read()\n{body}\n")
    return make_embedder(f"command:{sys.executable} '{script}'")


def test_a_program_gets_the_text_and_prints_the_numbers(tmp_path):
    embedder = command(tmp_path, "print([len(text)] + [0.5] * 511)")
    values = embedder.embed("grüße")
    assert values.tolist() == [5.0] + [0.5] * 511
    assert embedder.source.startswith("command:")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("print('1 2 3')", "gave 3 numbers, 3 of them finite; a sentence embedding here is 512"),
        ("print('nan ' * 512)", "gave 512 numbers, 0 of them finite"),
        ("print('loading model')", "printed something that is no number .*'loading'"),
        ("sys.exit('no such model')", "failed with exit code 1: no such model"),
    ],
)
def test_a_program_that_does_not_work_is_named_with_its_reason(tmp_path, body, reason):
    with pytest.raises(EmbeddingError, match=reason):
        command(tmp_path, body).embed("lift")


def test_a_program_that_is_not_there():
    with pytest.raises(EmbeddingError, match=r"cannot be started .*correct the command"):
        make_embedder("command:/no/such/program").embed("lift")
    with pytest.raises(EmbeddingError, match="names no program"):
        make_embedder("command: ")


def test_a_program_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "_TIMEOUT_S", 0.2)
    with pytest.raises(EmbeddingError, match=r"did not end within 0\.2 s for 'lift'"):
        command(tmp_path, "import threading; threading.Event().wait()").embed("lift")


def ones(text):
    """The plug-in of the next test."""
    return np.ones(512) * len(text)


def test_installed_packages_offer_embedders(monkeypatch):
    module = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "plug_in_of_this_test", module)
    point = EntryPoint("ones", "plug_in_of_this_test:ones", embedding.GROUP)
    monkeypatch.setattr(embedding, "entry_points", lambda group: EntryPoints([point]).select(group=group))
    assert make_embedder("ones").embed("abc").tolist() == [3.0] * 512
    assert make_embedder("ones").source == "ones"
    with pytest.raises(EmbeddingError, match=r"'one': there is none of that name; .* Known: .*'ones'\?$"):
        make_embedder("one")
