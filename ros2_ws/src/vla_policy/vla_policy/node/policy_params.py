# SPDX-License-Identifier: Apache-2.0

"""Parameters of the policy node."""

from dataclasses import dataclass

from vla_common.params import param
from vla_common.preflight import PARAMETER as PREFLIGHT

from vla_policy.execution.strategies import DEFAULT_STRATEGY, STRATEGIES
from vla_policy.node.mode_params import ModeParams


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyParams(ModeParams):
    """See the descriptions; `ros2 param describe /policy <name>` shows them too."""

    policy: str = param(
        "lerobot", "lerobot, scripted, remote, or the name of an entry point of the group `vla_policy.policies`."
    )
    checkpoint: str = param(
        "",
        "Run folder, step folder, `last` or pretrained_model folder of a LeRobot policy; of a remote policy its id on the "
        "server. Needed for policy `lerobot`.",
    )
    profile: str = param("", "Robot profile file; empty: the one that travels with the checkpoint.")
    device: str = param("cpu", "Torch device: cpu, cuda, cuda:1, mps.")
    dtype: str = param(
        "", "Numbers that the model computes with; empty: as trained.", choices=("", "float32", "bfloat16", "float16")
    )
    compile: bool = param(False, "Compile the model (torch.compile); the first calls, before any goal, take minutes.")
    accelerate: bool = param(False, "Use the accelerated runner of this kind of policy; refused where there is none.")
    torch_threads: int = param(
        1, "Compute threads of the model; more than idle cores make it many times slower.", minimum=1, maximum=256
    )
    rename: str = param(
        "", "Names of the profile's cameras (or `state`) to those of the policy: `front:top,wrist:side`."
    )
    on_load_failure: str = param(
        "fail",
        "Policy that cannot be loaded at the start: fail: the node ends and says why; scripted: the scripted policy stands "
        "in, and the status says so.",
        choices=("fail", "scripted"),
    )
    allow_synthetic: bool = param(
        False,
        "A camera that is silent at the start is replaced by labelled test pictures, for trying things out; needs "
        "dry_run:=true or policy:=scripted, and lockstep:=false.",
    )
    policy_options: str = param("", "Further options of the policy's own: `key=value,key=value`.")
    host: str = param("127.0.0.1", "policy `remote`: address of the server.")
    port: int = param(8000, "policy `remote`: its port.", minimum=1, maximum=65535)
    protocol: str = param(
        "positronic", "policy `remote`: what the server speaks.", choices=("positronic", "openpi", "openvla")
    )
    token: str = param("", "policy `remote`: bearer token of the server; empty: none.")
    remote_timeout_s: float = param(
        5.0, "policy `remote`: longest wait for an answer of the server [s].", minimum=0.01, maximum=600.0
    )
    task: str = param("", "Instruction when a goal gives none; empty: the profile's.")
    dry_run: bool = param(True, "Compute and show, send nothing; a goal cannot switch this off.")
    start_on_ready: bool = param(
        False, "Begin a dry run as soon as all streams have come, without a goal; needs dry_run."
    )
    output: str = param(
        "goals",
        "goals: to the action servers; print: to standard output, for want of a robot.",
        choices=("goals", "print"),
    )
    lockstep: bool = param(False, "Take the control ticks from the simulated cell, which waits for this node.")
    rate_hz: float = param(50.0, "Control ticks per second of the node clock [Hz].", minimum=1.0, maximum=1000.0)
    thread_priority: int = param(
        10,
        "Real-time priority of the control loop's thread where the system allows it; 0: none. In lockstep it has none.",
        minimum=0,
        maximum=99,
    )
    inference_latency_s: float = param(
        0.1,
        "From observation to command [s]: in lockstep the simulated time an inference takes, else the first estimate.",
        minimum=0.0,
        maximum=10.0,
    )
    strategy: str = param(
        DEFAULT_STRATEGY,
        "How chunk follows chunk; docs/explanation/chunk_execution.md compares them.",
        choices=STRATEGIES,
    )
    refill: int = param(
        0,
        "Steps left to execute when the next observation is taken; 0: as late as the latency allows. Sooner keeps the "
        "plan fresher and asks the policy more often.",
        minimum=0,
        maximum=1000,
    )
    blend_steps: int = param(
        10, "strategy `crossfade`: steps over which a new chunk takes over.", minimum=1, maximum=1000
    )
    aggregate_weight: float = param(
        0.7, "strategy `weighted_average`: share of the new chunk where two overlap.", minimum=0.0, maximum=1.0
    )
    ensemble_decay: float = param(
        0.01,
        "strategy `temporal_ensemble`: m of the weights exp(-m i), i = 0 the oldest chunk.",
        minimum=0.0,
        maximum=100.0,
    )
    rtc_horizon: int = param(
        10,
        "strategy `rtc`: steps of the running plan that guide the new chunk, after those that will be over when it comes.",
        minimum=1,
        maximum=1000,
    )
    rtc_max_guidance: float = param(
        10.0, "strategy `rtc`: largest weight of the guidance in a denoising step.", minimum=0.01, maximum=1000.0
    )
    rtc_schedule: str = param(
        "exp",
        "strategy `rtc`: how the guidance fades over the horizon.",
        choices=("exp", "linear", "ones", "zeros"),
    )
    latency_percentile: float = param(
        95.0,
        "Percentile of the last 32 delays from observation to command that is planned for; not in lockstep.",
        minimum=0.0,
        maximum=100.0,
    )
    n_action_steps: int = param(0, "Steps executed of each chunk; 0: the policy's own value.", minimum=0, maximum=1000)
    max_duration_s: float = param(60.0, "Time limit of a run whose goal gives none [s].", minimum=0.1, maximum=86400.0)
    start_timeout_s: float = param(
        5.0, "Longest wait for action servers and for the first observation [s].", minimum=0.0, maximum=600.0
    )
    ready_speed: float = param(
        0.4,
        "Fastest joint on the way to the profile's ready pose (goals with ready_pose) [rad/s]; at most half the "
        "profile's velocity limit is used.",
        minimum=0.01,
        maximum=3.0,
    )
    gripper_deadband: float = param(
        0.02, "Smallest change of a gripper target that is sent [rad or m].", minimum=0.0, maximum=1.0
    )
    max_refused: int = param(
        3, "Chunks in a row that the safety filter may refuse before a run stops.", minimum=0, maximum=1000
    )
    on_starvation: str = param(
        "hold",
        "When a chunk is over and no other has come. hold: rest at its last target; ramp_down: slow down along the way; "
        "abort: end the run after starvation_timeout_s.",
        choices=("hold", "ramp_down", "abort"),
    )
    starvation_timeout_s: float = param(
        1.0, "on_starvation `abort`: longest rest without a new chunk [s].", minimum=0.0, maximum=600.0
    )
    require_enable: bool = param(
        False, "Motion has to be allowed by the service ~/enable first; it can be withdrawn there either way."
    )
    preflight: bool = param(False, PREFLIGHT)
    deadman_topic: str = param(
        "", "Joystick (sensor_msgs/Joy) whose button must be held while the arm moves; empty: none."
    )
    deadman_button: int = param(4, "Index of that button.", minimum=0, maximum=63)
    deadman_timeout_s: float = param(
        0.25, "Longest silence of that joystick [s of wall time].", minimum=0.02, maximum=5.0
    )
    seed: int = param(0, "Seed of the policy's noise, set before each run.")
    report_file: str = param("", "JSON lines file that each run adds its measures to; empty: none.")
    log_file: str = param(
        "", "JSON lines file for every control tick and chunk, read by `ros2 run vla_policy report`; empty: none."
    )
