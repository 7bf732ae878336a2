# SPDX-License-Identifier: Apache-2.0

"""The policy that the node holds: by name, changed without a restart, replaced only when that was asked for."""

import gc
import threading
import weakref
from importlib.metadata import EntryPoint

import pytest
from policy_cell import RampRunner, wait_until
from policy_fixtures import make_act_checkpoint, small_frame, small_profile
from vla_core.errors import CheckpointError
from vla_msgs.action import RunPolicy
from vla_msgs.srv import LoadPolicy
from vla_policy.node.loading import PolicyBusyError, PolicyHolder, load_request
from vla_policy.node.policy_params import PolicyParams
from vla_policy.policies import registry
from vla_policy.policies.runner import Loaded, LoadRequest


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two checkpoints of one profile, and one of another."""
    folder = tmp_path_factory.mktemp("runs")
    make_act_checkpoint(folder / "a", small_profile())
    make_act_checkpoint(folder / "b", small_profile(), chunk=6)
    make_act_checkpoint(folder / "faster", small_profile(**{"fps: 10": "fps: 20"}))
    return folder


@pytest.fixture
def hold():
    made = []

    def make(factory=None, **params):
        made.append(PolicyHolder(PolicyParams(**params), factory=factory))
        return made[-1]

    yield make
    for holder in made:
        holder.close()


def test_the_parameters_become_a_request(tmp_path):
    request = load_request(
        PolicyParams(
            checkpoint="c",
            profile="~/p.yaml",
            dtype="bfloat16",
            rename="cam0:front, state:observation.state",
            policy_options="a=1,b=x:y",
            strategy="rtc",
            rtc_horizon=4,
            remote_timeout_s=2.0,
        )
    )
    assert request.rename == {"cam0": "front", "state": "observation.state"}
    assert request.options == {"a": "1", "b": "x:y"}
    assert (request.dtype, request.guided, request.rtc_horizon, request.timeout_s) == ("bfloat16", True, 4, 2.0)
    assert request.profile.is_absolute()
    for text in ("front", "front:", ":top", "a:b,a:c"):
        with pytest.raises(CheckpointError, match="parameter 'rename'"):
            load_request(PolicyParams(rename=text))


def test_policies_are_found_by_name(monkeypatch):
    assert {"lerobot", "scripted", "remote"} <= set(registry.installed())
    with pytest.raises(CheckpointError) as error:
        registry.find_policy("scriptd")
    assert "did you mean 'scripted'" in str(error.value)
    assert "lerobot, remote, scripted" in str(error.value)
    broken = EntryPoint("broken", "no_such_package.module:load", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken])
    with pytest.raises(CheckpointError, match=r"entry point no_such_package\.module:load cannot be imported"):
        registry.find_policy("broken")


def test_what_is_no_policy_is_refused():
    profile = small_profile()
    runner = RampRunner(profile)
    runner.n_action_steps = 9
    with pytest.raises(CheckpointError, match="executes 9 steps of chunks of 8"):
        registry.checked(Loaded(runner=runner, profile=profile, source=""), "ramp")
    with pytest.raises(CheckpointError, match="object lacks n_action_steps, chunk_size, guidable"):
        registry.checked(Loaded(runner=object(), profile=profile, source=""), "ramp")


def test_another_checkpoint_takes_the_place_of_the_loaded_one_which_is_released(runs, hold):
    holder = hold(checkpoint=str(runs / "a"))
    old = weakref.ref(holder.inference.runner._policy)
    said = []
    assert "chunk 6" in holder.load(str(runs / "b"), begun=said.append)
    assert said == [f"{runs / 'b'} is being loaded"]
    assert holder.source.startswith(str(runs / "b"))
    gc.collect()
    assert old() is None
    with holder.use() as inference:
        inference.start(small_frame(holder.profile), "")
        assert inference.take(10.0).chunk.values.shape == (6, 3)


def test_what_cannot_be_loaded_leaves_the_old_one_in_its_place(runs, hold, tmp_path):
    holder = hold(checkpoint=str(runs / "a"))
    before = holder.description
    with pytest.raises(CheckpointError, match="checkpoint not found"):
        holder.load(str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError) as error:
        holder.load(str(runs / "faster"))
    assert "fps: trained with 10" in str(error.value)
    assert "start a node of its own for it" in str(error.value)
    assert holder.description == before
    with holder.use() as inference:
        inference.start(small_frame(holder.profile), "")
        assert inference.take(10.0).chunk.values.shape == (8, 3)


def test_a_policy_in_use_is_not_changed_and_one_being_loaded_is_not_used(hold):
    profile = small_profile()
    go, inside = threading.Event(), threading.Event()

    def factory(request):
        if request.checkpoint == "slow":
            inside.set()
            assert go.wait(10.0)
        return Loaded(runner=RampRunner(profile), profile=profile, source=request.checkpoint)

    holder = hold(factory, checkpoint="first")
    with holder.use(), pytest.raises(PolicyBusyError, match="the policy is busy: a run is active"):
        holder.load("other")
    thread = threading.Thread(target=holder.load, args=("slow",))
    thread.start()
    assert inside.wait(10.0)
    with pytest.raises(PolicyBusyError, match="slow is being loaded"), holder.use():
        pass
    with pytest.raises(PolicyBusyError, match="slow is being loaded"):
        holder.load("third")
    go.set()
    thread.join(10.0)
    assert holder.source == "slow"


def test_errors_of_foreign_code_become_errors_of_the_checkpoint(hold):
    def factory(request):
        raise MemoryError("no room on the device")

    with pytest.raises(CheckpointError, match="loading failed with MemoryError: no room on the device") as error:
        hold(factory, checkpoint="x")
    assert isinstance(error.value.__cause__, MemoryError)


def test_the_scripted_policy_stands_in_only_when_asked_for_and_says_so(runs, hold, tmp_path):
    broken = tmp_path / "broken"
    path = make_act_checkpoint(broken, small_profile())
    (path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="cut short"):
        hold(checkpoint=str(broken))
    holder = hold(checkpoint=str(broken), on_load_failure="scripted", policy_options="")
    assert "STANDS IN for policy 'lerobot', which could not be loaded" in holder.notice
    assert "cut short" in holder.notice
    assert holder.description.startswith("scripted")
    assert "STANDS IN" in holder.description
    assert "ACT" in holder.load(str(runs / "a")).upper(), "a checkpoint that can be loaded takes over"
    assert holder.notice == ""
    with pytest.raises(
        CheckpointError, match=r"checkpoint not found(?s:.*)it needs a robot profile, and none was given"
    ):
        hold(checkpoint=str(tmp_path / "nothing"), on_load_failure="scripted")


def test_the_scripted_policy_has_no_checkpoints_to_change(hold, tmp_path):
    file = tmp_path / "profile.yaml"
    file.write_text(small_profile().text)
    holder = hold(policy="scripted", profile=str(file))
    with pytest.raises(CheckpointError, match="policy 'scripted' has no checkpoints"):
        holder.load("outputs/train")


class Loads:
    """A factory whose policies are named after their checkpoint; `bad` cannot be loaded."""

    def __init__(self, profile):
        self.profile = profile

    def __call__(self, request: LoadRequest) -> Loaded:
        if request.checkpoint == "bad":
            raise CheckpointError("bad: the weight file is cut short")
        runner = RampRunner(self.profile)
        runner.description = f"ramp of {request.checkpoint}"
        return Loaded(runner=runner, profile=self.profile, source=request.checkpoint)


def test_the_service_changes_the_policy_between_runs(cell):
    c = cell()
    c.node._policy._factory = Loads(c.profile)
    c.node._policy._chosen = ("ramp", c.node._policy._factory)
    client = c.client_node.create_client(LoadPolicy, "policy/load_policy")
    assert client.wait_for_service(10.0)

    def call(checkpoint, task=""):
        future = client.call_async(LoadPolicy.Request(checkpoint=checkpoint, task=task))
        wait_until(future.done, what="the answer")
        return future.result()

    answer = call("new", task="stack the cups")
    assert (answer.success, answer.policy) == (True, "ramp of new"), answer.message
    assert c.node._status.task == "stack the cups"
    answer = call("bad", task="wave")
    assert not answer.success
    assert answer.message == "bad: the weight file is cut short\nThe policy before stays loaded."
    assert answer.policy == "ramp of new"
    assert c.node._status.task == "stack the cups"
    assert "the checkpoint is empty" in call("").message
    handle = c.send(max_duration=30.0)
    wait_until(lambda: c.robot.arm_goals, what="the first goal")
    answer = call("other")
    assert (answer.success, answer.policy) == (False, "ramp of new")
    assert "the policy is busy: a run is active" in answer.message
    wait_until(handle.cancel_goal_async().done, what="the cancel answer")
    assert c.result(handle)[1].termination == RunPolicy.Result.TERMINATION_CANCELED
    assert call("other").success
