# SPDX-License-Identifier: Apache-2.0

"""Every registered policy, and every kind of LeRobot policy, keeps the contract of `PolicyRunner`."""

import dataclasses

import numpy as np
import pytest
from policy_cell import RampRunner
from policy_fixtures import small_profile
from serving_fixtures import GuidedPolicy, MoodyPolicy, ServerThread, run_folder
from tiny_policies import KINDS, make_backbone, make_checkpoint, small_pi
from vla_core.errors import CheckpointError
from vla_policy.policies import conformance, registry
from vla_policy.policies.conformance import CHECKS, Subject
from vla_policy.policies.runner import InferenceError, Loaded, LoadRequest

WITHOUT_SERVER = ("scripted", *KINDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conformance")
    (folder / "profile.yaml").write_text(small_profile().text)
    make_backbone(folder / "backbone")
    return folder


@pytest.fixture(scope="module", params=WITHOUT_SERVER)
def subject(request, folder):
    with small_pi():
        if request.param == "scripted":
            policy, asked = "scripted", LoadRequest(profile=folder / "profile.yaml")
        else:
            path = make_checkpoint(request.param, folder / request.param, small_profile(), folder / "backbone")
            policy, asked = "lerobot", LoadRequest(checkpoint=str(path), seed=3)
        with Subject(policy, asked) as made:
            yield made


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_policies_conform(subject, check):
    check(subject)


@pytest.fixture(scope="module", params=["positronic", "openpi", "guided"])
def remote_subject(request, tmp_path_factory):
    guided = request.param == "guided"
    folder = run_folder(tmp_path_factory.mktemp("served"), "1")
    server = ServerThread(folder, small_profile(), policy=GuidedPolicy if guided else MoodyPolicy)
    protocol = "positronic" if guided else request.param
    try:
        with Subject("remote", LoadRequest(port=server.port, protocol=protocol, guided=guided)) as made:
            yield made
    finally:
        server.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_remote_policies_conform(remote_subject, check):
    check(remote_subject)


def test_no_registered_policy_is_left_out():
    """A policy that is added here must be added to the suite; the remote one is tried with servers of this project."""
    assert {"lerobot", "scripted", "remote"} == set(registry.installed())


class Faulty(RampRunner):
    """A conforming policy, and one fault of each kind."""

    def __init__(self, profile, fault):
        super().__init__(profile, steps=4)
        self.fault = fault
        self.last_timing = (
            {"preprocess": 0.0, "model": 0.0} if fault == "stages" else dict.fromkeys(conformance.STAGES, 0.0)
        )
        self.description = "" if fault == "nameless" else "faulty"
        self.closed = False
        self.calls = 0

    def infer(self, frame, task, prefix=None):
        self.calls += 1
        if self.fault == "raises" and not frame.images:
            raise KeyError("front")
        if len(frame.state) != 3:
            raise InferenceError("another state")
        chunk = super().infer(frame, task)
        values = np.array(chunk.values)
        if self.fault == "long":
            values = np.concatenate([values, values])
        if self.fault == "remembers":
            values += self.calls
        if self.fault == "infinite":
            values[0, 0] = np.inf
        return dataclasses.replace(chunk, values=values, t0_ns=chunk.t0_ns + (self.fault == "late"))

    def close(self):
        if self.fault == "closes once" and self.closed:
            raise ValueError("closed already")
        self.closed = True


FAULTS = {
    "nameless": ("is_a_policy_runner", "description is empty"),
    "long": ("returns_chunks_of_the_stated_form", r"values of shape \(8, 3\), expected \(4, 3\)"),
    "late": ("returns_chunks_of_the_stated_form", "expected the frame's"),
    "infinite": ("returns_chunks_of_the_stated_form", "not finite"),
    "remembers": ("begins_anew_after_reset", "inference 0 after a reset differs"),
    "raises": ("raises_inference_errors_only", "infer raised KeyError, expected InferenceError"),
    "swallows prefixes": ("is_guided_or_says_that_it_cannot", "not refused with a CheckpointError"),
    "ignores steps": ("executes_as_many_steps_as_asked", "n_action_steps 1 was asked for, the policy says 4"),
    "ignores options": ("refuses_unknown_options", "an unknown option was not refused"),
    "stages": ("tells_its_time", "expected preprocess, model, postprocess"),
    "closes once": ("can_be_closed_twice", "closed already"),
}


def faulty_factory(profile, fault):
    def load(request):
        if request.guided and fault != "swallows prefixes":
            raise CheckpointError("not guidable")
        if request.options and fault != "ignores options":
            raise CheckpointError("unknown option")
        if request.n_action_steps > 4:
            raise CheckpointError("longer than the chunk")
        runner = Faulty(profile, fault)
        if fault != "ignores steps":
            runner.n_action_steps = request.n_action_steps or 4
        runner.chunk_size = 4
        return Loaded(runner=runner, profile=profile, source="")

    return load


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_each_check_finds_its_fault_and_no_other_does(monkeypatch, fault):
    monkeypatch.setattr(conformance, "find_policy", lambda name: faulty_factory(small_profile(), fault))
    monkeypatch.setattr(registry, "find_policy", lambda name: faulty_factory(small_profile(), fault))
    failed = {}
    with Subject("faulty", LoadRequest()) as subject:
        for check in CHECKS:
            try:
                check(subject)
            except (AssertionError, ValueError) as error:
                failed[check.__name__] = str(error)
        subject.runner.closed = False
    if fault is None:
        assert failed == {}
        return
    name, text = FAULTS[fault]
    assert name in failed, failed
    with pytest.raises(AssertionError, match=text):
        raise AssertionError(failed[name])
    also = {"long", "late", "infinite"}
    assert len(failed) == 1 or fault in also, failed
