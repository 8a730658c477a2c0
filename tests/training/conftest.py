"""Fixtures that train a tiny model. The tests of a module share the results."""

import json

import jax
import pytest

from hmmn_jax.checkpoints.store import save_checkpoint
from hmmn_jax.training import loop
from hmmn_jax.training.loop import train_and_evaluate
from hmmn_jax.training.parallel import Parallel
from tests.small import variables
from tests.training.runs import STEPS, batches
from tests.training.tiny_run import MODEL, tiny_config, use_cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Yields a folder for compiled programs. All runs of a module and their processes use this folder.

    If `make test` has set a cache folder, that folder is used.
    """
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    folder = before[0] or tmp_path_factory.mktemp("cache")
    use_cache(folder)
    yield folder
    jax.config.update("jax_compilation_cache_dir", before[0])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before[1])


@pytest.fixture(scope="module")
def one_step():
    """Compiles a step once for all configs that need the same step, because tracing takes longer than a run."""
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
def train(tmp_path_factory, cache, one_step):
    """Returns a function that trains the tiny model. Runs load a checkpoint instead of compiling the initialisation."""
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
    """Returns the workdir, the final state and the result of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, *train(workdir)
