# SPDX-License-Identifier: Apache-2.0

"""The picture of an episode: phases, pauses, and what it says where there is nothing to draw."""

import json

import numpy as np
from PIL import Image
from vla_core.episode import CORRECTION, SKILL, TELEOP
from vla_core.profile import parse_profile
from vla_demo.episode_plot import Story, bands, main, write_gif, write_png
from vla_recorder.testing import PROFILE, Scene, scene_events, small_profile, write_episode


def story():
    t_s = np.concatenate([np.arange(20) * 0.1, 4.0 + np.arange(20) * 0.1])
    state = np.stack([np.sin(t_s), np.cos(t_s)], axis=1).astype(np.float32)
    picture = np.zeros((24, 32, 3), dtype=np.uint8)
    return Story(
        name="episode_x",
        profile=parse_profile(PROFILE, "test"),
        t_s=t_s,
        phase=np.array([TELEOP] * 12 + [SKILL] * 8 + [CORRECTION] * 20),
        state=state,
        action=state + 0.1,
        pauses=((1.9, 4.0),),
        images={"front": [picture + i for i in range(40)]},
        notes="cpu, completed",
    )


def test_bands_are_the_runs_of_equal_phases():
    assert bands(story().phase) == [(TELEOP, 0, 12), (SKILL, 12, 20), (CORRECTION, 20, 40)]


def test_picture_and_animation(tmp_path):
    write_png(story(), tmp_path / "new" / "a.png")
    assert Image.open(tmp_path / "new" / "a.png").size == (1100, 600)
    count = write_gif(story(), tmp_path / "a.gif", fps=5.0, speed=2.0)
    animation = Image.open(tmp_path / "a.gif")
    assert count == len(np.arange(0.0, 5.9 + 0.4, 0.4))
    assert animation.n_frames == count
    assert animation.info["duration"] == 200


def test_a_bag_from_the_command_line(tmp_path, capsys):
    profile = small_profile()
    bag = write_episode(tmp_path / "bag", scene_events(profile, Scene()), profile)
    assert main([str(bag), "--output", str(tmp_path / "b.png"), "--json", str(tmp_path / "b.json")]) == 0
    rows = json.loads((tmp_path / "b.json").read_text())
    assert sum(row[3] for row in rows) > 5
    assert f"{tmp_path / 'b.png'}: " in capsys.readouterr().out


def test_no_bag_is_one_clear_line(tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 2
    assert str(tmp_path / "nothing") in capsys.readouterr().err
