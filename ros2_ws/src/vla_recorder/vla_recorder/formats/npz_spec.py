# SPDX-License-Identifier: Apache-2.0

"""The specification beside npz episodes: what every episode must hold, in a YAML or JSON file.

=============================  =====================================================================================
``name``, ``version``          of the dataset
``control_freq_hz``            rows per second
``control_freq_tolerance_pct`` by how much the rate of an episode may differ [%]
``required_obs_keys``          arrays ``obs.<key>`` with images
``required_proprio_keys``      arrays ``obs.<key>`` with measured vectors
``action_dim``                 length of an action
``action_type``                absolute or delta
``action_names``               optional
``action_min``, ``action_max`` optional, one number per value of the action
``max_episode_steps``          optional
``allow_nan``, ``clip_actions``  optional, false if absent
=============================  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from vla_core.actions import ActionMap
from vla_core.errors import VlaError, listing, nearest_name
from vla_core.profile import Profile
from vla_core.states import apply_scale

SPEC_FILE = "spec.yaml"
ACTION_TYPES = ("absolute", "delta")
_OPTIONAL = ("action_names", "action_min", "action_max", "max_episode_steps", "allow_nan", "clip_actions")


class SpecError(VlaError):
    """A specification cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A specification (see the module)."""

    name: str
    version: str
    control_freq_hz: float
    control_freq_tolerance_pct: float
    required_obs_keys: tuple[str, ...]
    required_proprio_keys: tuple[str, ...]
    action_dim: int
    action_type: str
    action_names: tuple[str, ...] | None = None
    action_min: tuple[float, ...] | None = None
    action_max: tuple[float, ...] | None = None
    max_episode_steps: int | None = None
    allow_nan: bool = False
    clip_actions: bool = False

    def to_yaml(self) -> str:
        """Return the specification as YAML; what is not known is left out."""
        values = {key: _plain(value) for key, value in asdict(self).items() if value is not None}
        return yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def load_spec(path: Path) -> Spec:
    """Return the specification in a YAML or JSON file.

    Raises:
        SpecError: It cannot be read, or a key is absent, unknown or has the wrong kind of value.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(
            f"{path}: cannot be read ({error.strerror or error}); give the spec of the data with --spec"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: is neither YAML nor JSON ({error})") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path}: a spec is a map of keys to values, got {type(content).__name__}")
    known = [f.name for f in fields(Spec)]
    for key in content:
        if key not in known:
            raise SpecError(f"{path}: unknown key '{key}'{nearest_name(str(key), known)}; known: {listing(known)}")
    if absent := [key for key in known if key not in content and key not in _OPTIONAL]:
        raise SpecError(f"{path}: the spec lacks {listing(absent)}")
    return _checked(path, {key: _value(path, key, value) for key, value in content.items()})


def _value(path: Path, key: str, value: Any) -> Any:
    kinds: dict[str, tuple[type, ...]] = {
        **dict.fromkeys(("name", "version", "action_type"), (str,)),
        **dict.fromkeys(("control_freq_hz", "control_freq_tolerance_pct"), (int, float)),
        **dict.fromkeys(("allow_nan", "clip_actions"), (bool,)),
        **dict.fromkeys(("required_obs_keys", "required_proprio_keys", "action_names"), (str,)),
        **dict.fromkeys(("action_min", "action_max"), (int, float)),
        **dict.fromkeys(("action_dim", "max_episode_steps"), (int,)),
    }
    wanted = kinds[key]
    if value is None and key in _OPTIONAL:
        return Spec.__dataclass_fields__[key].default
    listed = key.startswith("required_") or key in ("action_names", "action_min", "action_max")
    values = value if listed and isinstance(value, list) else [value]
    bad = (listed and not isinstance(value, list)) or any(
        not isinstance(item, wanted) or (isinstance(item, bool) and bool not in wanted) for item in values
    )
    if bad:
        kind = " or ".join(kind.__name__ for kind in wanted)
        raise SpecError(f"{path}: '{key}' must be {'a list of ' if listed else ''}{kind}, got {value!r}")
    return tuple(values) if listed else value


def _checked(path: Path, values: dict[str, Any]) -> Spec:
    spec = Spec(**values)
    if spec.action_type not in ACTION_TYPES:
        raise SpecError(f"{path}: action_type '{spec.action_type}' is not one of {listing(ACTION_TYPES)}")
    if spec.control_freq_hz <= 0 or spec.control_freq_tolerance_pct < 0 or spec.action_dim < 1:
        raise SpecError(
            f"{path}: control_freq_hz {spec.control_freq_hz:g} must be above 0, control_freq_tolerance_pct "
            f"{spec.control_freq_tolerance_pct:g} not below 0, action_dim {spec.action_dim} at least 1"
        )
    for key in ("action_names", "action_min", "action_max"):
        value: Sequence[Any] | None = getattr(spec, key)
        if value is not None and len(value) != spec.action_dim:
            raise SpecError(f"{path}: '{key}' has {len(value)} values, action_dim is {spec.action_dim}")
    return spec


def spec_of(profile: Profile, *, name: str, fps: float, cameras: Sequence[str], longest: int) -> Spec:
    """Return the specification of a conversion.

    The limits of the action are the joint limits of the profile, in dataset units; there are none where a part of the
    action is no absolute joint position.

    Args:
        profile: Profile that the rows were built with.
        name: Name of the dataset.
        fps: Rows per second.
        cameras: Names of the cameras.
        longest: Rows of the longest episode.
    """
    groups = ActionMap(profile).groups
    lower: list[float] | None = []
    upper: list[float] | None = []
    for group in groups:
        if group.spec.space != "absolute_joint" or lower is None or upper is None:
            lower = upper = None
            continue
        ends = [apply_scale(group.spec.scale, limit) for limit in (group.spec.limits.lower, group.spec.limits.upper)]
        pairs = [sorted((float(a), float(b))) for a, b in zip(*ends, strict=True)]
        lower += [pair[0] for pair in pairs]
        upper += [pair[1] for pair in pairs]
    delta = any(group.spec.space.startswith("delta") for group in groups)
    return Spec(
        name=name,
        version="1.0.0",
        control_freq_hz=float(fps),
        control_freq_tolerance_pct=5.0,
        required_obs_keys=tuple(cameras),
        required_proprio_keys=("state",),
        action_dim=len(profile.action_names),
        action_type="delta" if delta else "absolute",
        action_names=profile.action_names,
        action_min=None if lower is None else tuple(lower),
        action_max=None if upper is None else tuple(upper),
        max_episode_steps=longest,
    )
