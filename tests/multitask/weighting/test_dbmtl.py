import numpy as np
import pytest

from keras_transfer.multitask.weighting.dbmtl import DBMTL
from multitask.weighting import laws


@pytest.mark.parametrize("law", [*laws.ALL, laws.task_scaling])
def test_laws(law):
    assert law(DBMTL)


def test_scaling_of_all_losses_does_not_change_the_step():
    assert laws.scaling(DBMTL, degree=0)


def flat(gradients):
    return np.concatenate([g.reshape(len(g), -1) for g in gradients], 1)


def test_a_step_by_hand():
    gradients = [np.array([[3.0, 4, 0, 0, 0], [0, 0, 2, 0, 0]]), np.zeros((2, 2, 4))]
    row, _ = laws.step(laws.built(lambda: DBMTL(beta=0.0), 2), laws.Batch([0.5, 2.0], gradients))
    # g / L = (6, 8) and 1: norms 10 and 1, both get 10
    assert np.allclose(row[:5], [6, 8, 10, 0, 0])
    row, _ = laws.step(laws.built(lambda: DBMTL(beta=0.75), 2), laws.Batch([0.5, 2.0], gradients))
    assert np.allclose(row[:5], [1.5, 2, 2.5, 0, 0])


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_follows_the_algorithm_in_numpy(beta):
    made, mean = laws.batches(5), 0.0
    rows, _ = laws.run(laws.built(lambda: DBMTL(beta=beta)), made)
    for batch, row in zip(made, rows):
        mean = beta * mean + (1 - beta) * flat(batch.gradients) / batch.losses[:, None]
        norms = np.linalg.norm(mean, axis=1)
        assert np.allclose(row, (norms.max() / norms) @ mean, rtol=1e-3, atol=1e-4)


def test_all_tasks_move_the_step_alike():
    gradients = [np.eye(3, 5) * [[0.1], [1.0], [100.0]], np.zeros((3, 2, 4))]
    row, _ = laws.step(laws.built(DBMTL), laws.Batch([1, 1, 1], gradients))
    assert np.allclose(row[:3], row[0]) and np.allclose(row[3:], 0)


def test_an_absent_task_does_not_take_part_by_its_mean():
    weighting = laws.built(DBMTL)
    first, second, _ = laws.batches()
    laws.step(weighting, first)
    kept = [mean.numpy()[1] for mean in weighting.means]
    row, _ = laws.step(weighting, second.without(1))
    alone = laws.built(DBMTL, 2)
    laws.step(alone, first.take([0, 2]))
    assert np.allclose(row, laws.step(alone, second.take([0, 2]))[0], rtol=1e-4)
    assert all(np.array_equal(mean.numpy()[1], was) and np.any(was) for mean, was in zip(weighting.means, kept))


def test_a_task_without_a_gradient_leaves_the_others():
    batch = laws.batches(1)[0]
    row, _ = laws.step(laws.built(DBMTL), batch.scaled([1.0, 0.0, 1.0]))
    assert np.allclose(row, laws.step(laws.built(DBMTL, 2), batch.take([0, 2]))[0], rtol=1e-4)


def test_keeps_gradients():
    assert DBMTL.keeps_gradients
    assert [v.shape for v in laws.built(DBMTL).means] == [(3, *shape) for shape in laws.SHAPES]


@pytest.mark.parametrize("beta", [1, -0.1])
def test_a_share_out_of_range(beta):
    with pytest.raises(ValueError, match=f"`beta` must be a share: at least 0 and less than 1. Received: {beta}"):
        DBMTL(beta)
