"""Whole runs of a tiny model: their files, and interruptions."""

import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import jax
import numpy as np
import optax
import pytest
from PIL import Image
from safetensors.numpy import save_file

from hmmn_jax import load_checkpoint
from hmmn_jax.checkpoints import pretrained
from hmmn_jax.checkpoints.steps import finished_steps
from hmmn_jax.checkpoints.store import save_checkpoint
from hmmn_jax.checkpoints.torch_weights import torch_shapes
from hmmn_jax.datasets.folders import read_sequence
from hmmn_jax.errors import CheckpointError, ConfigError, DataError, DivergedError
from hmmn_jax.evaluation.plans import Plan
from hmmn_jax.training import loop
from hmmn_jax.training.checkpoint import is_validated
from hmmn_jax.training.hooks import Hook
from hmmn_jax.training.loop import make_optimization, train_and_evaluate
from hmmn_jax.training.metrics import read_metrics
from hmmn_jax.training.parallel import Parallel
from hmmn_jax.training.start import require_same_config, starting_state
from hmmn_jax.training.validation import Validation
from tests.evaluation.plans import plans
from tests.small import SMALL, untyped, variables, with_backbone
from tests.training.tiny_run import MODEL, tiny_batch, tiny_config, use_cache

ROOT = Path(__file__).parent.parent.parent
STEPS = 8


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Compiled programs, shared by the runs of this module and by the processes that they start."""
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    folder = tmp_path_factory.mktemp("cache")
    use_cache(folder)
    yield folder
    jax.config.update("jax_compilation_cache_dir", before[0])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before[1])


def batches(first_step):
    return (tiny_batch(step) for step in itertools.count(first_step))


@pytest.fixture(scope="module", autouse=True)
def one_step():
    """One compiled step for all runs of a config, because tracing it again takes longer than a run."""
    with pytest.MonkeyPatch.context() as patch:
        made, steps, compiled = loop.make_step, {}, {}

        def make_step(config, *rest):
            without = {"checkpoint", "init", "log_every", "profile", "resume", "stop_above", "validation"}
            key = json.dumps({name: value for name, value in config.to_dict().items() if name not in without})
            return steps.setdefault(key, made(config, *rest))

        def compile_step(parallel, step):
            return compiled.setdefault(step, compile_once(parallel, step))

        compile_once = Parallel.compile
        patch.setattr(loop, "make_step", make_step)
        patch.setattr(Parallel, "compile", compile_step)
        yield


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """`train_and_evaluate` of a tiny run with given variables, because compiling their initialisation takes longer."""
    init = tmp_path_factory.mktemp("init") / "OUT"
    save_checkpoint(init, variables(MODEL), MODEL)

    def train(workdir, config=None, batches=batches, validation=(), **own):
        config = config or tiny_config(STEPS)
        config.init = config.init or str(init)
        return train_and_evaluate(config, workdir, batches, validation, {"max_skip": config.data.max_skip}, **own)

    train.init = init
    return train


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, train):
    """The workdir, state and result of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, *train(workdir)


def assert_same(found, expected):
    for (path, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), jax.tree_util.keystr(path)


def test_a_whole_run(undisturbed):
    workdir, state, result = undisturbed
    assert int(state.step) == STEPS
    assert result.origin.startswith("variables of ") and not result.interrupted
    assert finished_steps(workdir) == [4, 6, 8]
    assert json.loads((workdir / "config.json").read_text())["experiment"]["learning_rate"]["peak"] == 1e-3

    lines = read_metrics(workdir)
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert [line["max_skip"] for line in lines] == [1, 1, 5, 5]
    for line in lines:
        assert line["loss"] == pytest.approx(line["loss_frame_1"], rel=1e-5)
        assert line["gradient_norm"] > 0 and line["parameter_norm"] > 0 and line["clips_per_second"] > 0
        assert 0 <= line["input_wait"] <= 1
    assert 1e-3 > lines[0]["learning_rate"] > lines[-1]["learning_rate"] > 0
    assert any((workdir / "tensorboard").iterdir())


def test_the_workdir_is_a_checkpoint_of_the_moving_average(undisturbed):
    workdir, state, _ = undisturbed
    found, config = load_checkpoint(workdir)
    assert config == MODEL
    assert_same(found["params"], state.ema)
    assert any(
        (np.asarray(a) != b).any() for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(state.ema), strict=True)
    )


def test_a_finished_run_is_left_as_it_is(train, undisturbed):
    workdir, state, _ = undisturbed
    before = (workdir / "metrics.jsonl").read_text()
    again, result = train(workdir)
    assert_same(again, state)
    assert result.origin == f"step {STEPS} of this workdir"
    assert (workdir / "metrics.jsonl").read_text() == before


def test_sigterm_saves_and_the_run_continues(train, undisturbed, tmp_path):
    def terminated(first_step):
        for step, batch in zip(itertools.count(first_step), batches(first_step), strict=False):
            if step == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    before = signal.getsignal(signal.SIGTERM)
    state, result = train(tmp_path, batches=terminated)
    assert result.interrupted and int(state.step) == 5
    assert finished_steps(tmp_path)[-1] == 5
    assert signal.getsignal(signal.SIGTERM) is before
    state, result = train(tmp_path)
    assert result.origin == "step 5 of this workdir"
    assert_same(state, undisturbed[1])


def test_a_truncated_checkpoint_is_passed_over(train, undisturbed, tmp_path):
    train(tmp_path, tiny_config(STEPS), batches=lambda first: itertools.chain(itertools.islice(batches(first), 5), interrupt()))
    assert finished_steps(tmp_path)[-1] == 6
    for file in (tmp_path / "checkpoints/6/variables").rglob("*"):
        if file.is_file():
            os.truncate(file, file.stat().st_size // 2)
    with pytest.warns(UserWarning, match="the previous checkpoint is used"):
        state, result = train(tmp_path)
    assert result.origin == "step 4 of this workdir"
    assert_same(state, undisturbed[1])
    assert [line["step"] for line in read_metrics(tmp_path)] == [2, 4, 6, 8]


def interrupt():
    """The batches; the process receives SIGTERM during the sixth."""
    os.kill(os.getpid(), signal.SIGTERM)
    yield tiny_batch(5)


@pytest.mark.parametrize("bad_step", [3, 4])
def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_batch(train, tmp_path, bad_step):
    """Ids of objects that are padding have probability 0. The checkpoint of step 4 is not written then."""

    def poisoned(first_step):
        for step, batch in zip(itertools.count(first_step + 1), batches(first_step), strict=False):
            yield batch | {"valid": np.zeros_like(batch["valid"])} if step == bad_step else batch

    with pytest.raises(DivergedError, match=rf"^step {bad_step}: .* is (inf|nan)\. .*bad_batch_{bad_step}.npz"):
        train(tmp_path, batches=poisoned)
    with np.load(tmp_path / f"bad_batch_{bad_step}.npz") as saved:
        assert not saved["valid"].any()
        for name in ("frames", "masks", "sample", "names"):
            np.testing.assert_array_equal(saved[name], tiny_batch(bad_step - 1)[name])
    assert finished_steps(tmp_path) == [2]


def test_a_diverging_loss_stops_the_run(train, tmp_path):
    with tiny_config(STEPS).unlocked() as config:
        config.stop_above = 0.1
    with pytest.raises(DivergedError, match=r"^step 2: the mean loss of 4 samples is .*, above 0.1"):
        train(tmp_path, config)
    assert (tmp_path / "bad_batch_2.npz").exists()


def test_another_config_is_rejected(train, undisturbed):
    workdir = undisturbed[0]
    config = tiny_config(STEPS)
    config.log_every, config.checkpoint.keep = 1, 5  # these may differ
    config.learning_rate.peak, config.dropout = 2e-3, 0.25
    with pytest.raises(ConfigError) as caught:
        train(workdir, config)
    message = str(caught.value)
    assert "dropout is 0.25, but was 0.5; learning_rate.peak is 0.002, but was 0.001. Restore these" in message
    assert f"--config.resume={workdir}" in message


def test_resume_takes_over_the_whole_state(undisturbed, tmp_path):
    config = tiny_config(STEPS + 1)
    config.resume = str(undisturbed[0])
    state, origin = starting_state(config, MODEL, make_optimization(config, STEPS)[1], tmp_path)
    assert origin.startswith(f"step {STEPS} of {undisturbed[0]}")
    assert_same(state.replace(opt_state=()), undisturbed[1].replace(opt_state=()))
    assert int(state.opt_state[0].count) == STEPS


def test_init_takes_over_the_variables_alone(undisturbed, tmp_path):
    config = tiny_config()
    config.init = str(undisturbed[0])
    state, origin = starting_state(config, MODEL, make_optimization(config, STEPS)[1], tmp_path)
    assert origin == f"variables of {undisturbed[0]}"
    assert int(state.step) == int(state.opt_state[0].count) == 0
    for params in (state.params, state.ema):
        assert_same(params, undisturbed[1].ema)


def test_init_from_a_resnet(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "_random_variables", lambda config, key: variables(config))
    config = tiny_config()
    model = with_backbone(SMALL, widths=(16, 32, 64))
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in torch_shapes(model).items():
        module, _, rest = name.partition(".")
        if module == "Encoder_Q" and rest not in ("mean", "std"):
            rest = rest.replace("res2", "layer1").replace("res3", "layer2").replace("res4", "layer3")
            tensors[rest] = rng.normal(size=shape).astype(np.float32) if shape else np.zeros((), np.int64)
    save_file(tensors, tmp_path / "resnet50.safetensors")
    config.init = str(tmp_path / "resnet50.safetensors")
    state, origin = starting_state(config, model, make_optimization(config, STEPS)[1], tmp_path)
    assert origin.startswith("both backbones of the resnet")
    kernel = state.params["query_encoder"]["backbone"]["res2_0"]["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["layer1.0.conv1.weight"].transpose(2, 3, 1, 0))


def test_an_own_checkpoint_comes_before_resume_and_init(train, undisturbed):
    config = tiny_config(STEPS)
    config.init = config.resume = "/nowhere"
    assert train(undisturbed[0], config)[1].origin == f"step {STEPS} of this workdir"


def test_errors_are_reported_before_anything_is_written(train, tmp_path):
    save_checkpoint(tmp_path / "other", variables(), SMALL)
    workdir = tmp_path / "run"

    def refusal(error, batches=batches, **changes):
        config = tiny_config()
        config.update_from_flattened_dict(changes)
        with untyped(), pytest.raises(error) as caught:
            train(workdir, config, batches)
        assert not workdir.exists()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def no_data(first_step):
        raise DataError("no such set")

    assert "parallel is 'pnap'" in refusal(ConfigError, parallel="pnap")
    assert "expected a multiple of 2" in refusal(ConfigError, batch=3, micro_batches=2)
    assert "expected at least one batch of 2" in refusal(ConfigError, samples=1)
    assert "HMMNConfig.window is 4" in refusal(ConfigError, **{"model.window": 4})
    assert "config.optimizer.name is 'sgd', expected one of adam, adamw" in refusal(ConfigError, **{"optimizer.name": "sgd"})
    assert "profile is '5:3'" in refusal(ConfigError, profile="5:3")
    assert "no such file or folder" in refusal(CheckpointError, init="/nowhere")
    assert "/nowhere" in refusal(CheckpointError, resume="/nowhere")
    message = refusal(CheckpointError, init=str(tmp_path / "other"))
    assert "a different model" in message and "widths is (16, 32, 32), expected (8, 8, 8)" in message
    group = with_backbone(MODEL, norm="group", norm_groups=2)  # its tensors have the same shapes as those of a LayerNorm
    save_checkpoint(tmp_path / "group", variables(group), group)
    message = refusal(CheckpointError, init=str(tmp_path / "group"), **{"model.backbone.norm": "layer"})
    assert "a different model" in message and "norm is 'group', expected 'layer'" in message
    with pytest.MonkeyPatch.context() as patch:  # before variables are initialised, which compiles
        patch.setattr(loop, "starting_state", None)
        assert refusal(DataError, no_data) == "no such set"


def test_validation_and_its_best_checkpoint(train, tmp_path):
    root = tmp_path / "davis"
    for kind, image in (("JPEGImages", "jpg"), ("Annotations", "png")):
        folder = root / kind / "480p/cat"
        folder.mkdir(parents=True)
        for t in range(4):
            mask = np.zeros((48, 64), np.uint8)
            mask[10:30, 20 + t : 40 + t] = 1
            Image.fromarray(mask if image == "png" else np.stack([100 * mask + t] * 3, -1)).save(folder / f"{t:05d}.{image}")
    config = tiny_config(STEPS)
    config.validation.every, config.validation.size, config.checkpoint.keep = 8, 32, 1
    workdir = tmp_path / "run"
    _, result = train(workdir, config, validation=plans([read_sequence(root, "cat", "480p")]))
    lines = {line["step"]: line for line in read_metrics(workdir) if "validation/jf" in line}
    assert sorted(lines) == [4, 8]
    assert lines[8]["validation/jf"] == result.scores["jf"] == pytest.approx((result.scores["j"] + result.scores["f"]) / 2)
    assert lines[8]["validation/cat"] == pytest.approx(result.scores["jf"])
    assert [path.name for path in sorted((workdir / "pictures/validation").iterdir())] == ["0000004.png", "0000008.png"]
    best = max(lines, key=lambda step: (lines[step]["validation/jf"], step))
    assert_same(load_checkpoint(workdir, "best")[0], load_checkpoint(workdir, best)[0])


def test_a_checkpoint_is_saved_before_its_validation_which_sigterm_interrupts(train, undisturbed, tmp_path, monkeypatch):
    """The first run is terminated in the first validation, the second fails in the last. Both validations are repeated."""
    validated = []

    def validate(segmenters, plans, size, stop):
        validated.append(finished_steps(tmp_path)[-1])
        if len(validated) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            return None if stop() else pytest.fail("not asked to stop")
        if len(validated) == 3:
            raise RuntimeError("killed")
        return Validation({"jf": 0.5, "j": 0.5, "f": 0.5}, {}, None)

    monkeypatch.setattr(loop, "validate", validate)
    monkeypatch.setattr(loop, "make_segmenters", lambda *_: [])
    with tiny_config(STEPS).unlocked() as config:
        config.validation.every = 8  # in samples: four steps
    _, result = train(tmp_path, config, validation=[Mock(spec=Plan)])
    assert result.interrupted and validated == [4] and not is_validated(tmp_path, 4)
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, config, validation=[Mock(spec=Plan)])
    assert validated == [4, 4, 8] and is_validated(tmp_path, 4) and not is_validated(tmp_path, 8)
    state, result = train(tmp_path, config, validation=[Mock(spec=Plan)])
    assert validated == [4, 4, 8, 8] and is_validated(tmp_path, 8) and result.scores["jf"] == 0.5
    assert_same(state, undisturbed[1])


class Log(Hook):
    """Records what a logger such as that of Weights & Biases would send."""

    def __init__(self):
        self.lines, self.steps = [], []

    def scalars(self, step, values):
        self.lines.append({"step": step, **values})

    def saved(self, state):
        self.steps.append(int(state.step))
        assert np.isfinite(optax.tree.norm(state.params))


def test_hooks_are_called_in_order(train, tmp_path):
    log = Log()
    train(tmp_path, hooks=[Hook(), log])
    assert log.lines == read_metrics(tmp_path)
    assert log.steps == [2, 4, 6, 8]


def test_an_error_in_a_hook_ends_the_run_which_can_be_resumed(train, undisturbed, tmp_path):
    class Broken(Hook):
        def saved(self, state):
            raise OSError("no connection")

    with pytest.raises(OSError, match="no connection"):
        train(tmp_path, hooks=[Broken()])
    state, result = train(tmp_path)
    assert result.origin == "step 2 of this workdir"
    assert_same(state, undisturbed[1])


def test_an_own_loss_and_an_own_optimizer_are_used(train, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(loop, "make_step", lambda *given: seen.append(given) or pytest.fail("compiled"))
    own = optax.sgd(0.5)

    def loss(logits, masks, share):
        return logits.mean()

    with pytest.raises(pytest.fail.Exception):
        train(tmp_path, loss=loss, optimizer=lambda rate: own if rate(0) == 1e-3 else None)
    assert seen[0][2] is own and seen[0][4] is loss


def test_a_run_of_a_release_without_some_fields_is_resumed(train, undisturbed, tmp_path):
    shutil.copytree(undisturbed[0], tmp_path / "run")
    later = ("slots", "learning_rate.for_batch", "data.copy_paste.twins", "devices", "deterministic")
    file = tmp_path / "run/config.json"
    text = json.loads(file.read_text())
    for name in later:
        *sections, leaf = name.split(".")
        functools.reduce(dict.__getitem__, sections, text["experiment"]).pop(leaf)
    file.write_text(json.dumps(text))
    require_same_config(tmp_path / "run", tiny_config(STEPS))


def test_the_learning_rate_follows_the_batch():
    config = tiny_config(8, batch=8)
    config.learning_rate.schedule = "constant"
    assert float(make_optimization(config, 8)[0](0)) == pytest.approx(1e-3)
    config.learning_rate.for_batch = 2
    assert float(make_optimization(config, 8)[0](0)) == pytest.approx(2e-3)


def test_a_trace_of_some_steps(train, tmp_path):
    config = tiny_config(STEPS)
    config.profile = "3:4"
    train(tmp_path, config)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def start(workdir, init, cache):
    """A run in a separate process."""
    command = [sys.executable, "-m", "tests.training.tiny_run", str(workdir), str(init), str(cache), str(STEPS), "2"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_killed_run_continues_to_the_same_end(train, undisturbed, tmp_path, cache):
    process = start(tmp_path, train.init, cache)
    while process.poll() is None and not finished_steps(tmp_path):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    said = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, said
    state, result = train(tmp_path)
    assert result.origin in {f"step {step} of this workdir" for step in range(2, STEPS, 2)}
    assert_same(state, undisturbed[1])
