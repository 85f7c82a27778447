"""What all networks of a tower for each task have in common."""
import keras

from ... import _check
from .sharing import several
from .stages import stage_names, towers


class Towers:
    """A copy of the backbone for each task, joined at inner stages.

    `kt.attach(backbone, heads, sharing=...)` builds it: the layer `backbone` of the model holds all copies, and the features
    of the task `breed` are the layer `features_breed`. The given backbone is copied, and left as it is. A copy has the name
    of its layer and that of the task: `block_3_expand_breed`. `kt.freeze`, `kt.unfreeze`, `kt.layerwise` and `kt.fine_tune`
    take names of blocks, shares and numbers of layers, and with them all copies; a number counts every copy. The units count
    as layers of the block that they follow, so they're frozen with it: the copies are still equal there, and mixing equal
    features by weights that sum to 1 gives the same. The cost of a step is that of one network for each task.

    Subclass it and define `unit`.

    Args:
        at: the stages, a list of names of layers or blocks of the backbone; a block stands for its last layer.
        own: the weight of a task's own features at the start; the other tasks share the rest.
    """

    def __init__(self, at, own=0.9):
        self.at, self.own = stage_names(at), _check.own_share(own)

    def over(self, backbone, inputs, tasks):
        """Returns `{task: tensor}` for symbolic `inputs` of `backbone`."""
        return towers(backbone, several(tasks), self.at, self.unit)(inputs)

    def unit(self, stage):
        """Returns the layer that joins the towers after a stage: list of tensors -> list of tensors."""
        raise NotImplementedError(f"{type(self).__name__} defines no `unit`.")


class Unit(keras.layers.Layer):
    """A layer from a list of tensors of one shape, one for each task, to the same.

    Args:
        own: the weight of a task's own features at the start.
    """

    def __init__(self, own=0.9, **options):
        super().__init__(**options)
        self.own = _check.own_share(own)

    def mixture(self, tasks):
        """Returns the weights at the start, rows of `own` and (1 - own) / (tasks - 1): nested lists `(tasks, tasks)`."""
        other = (1 - self.own) / (tasks - 1)
        return [[self.own if s == t else other for s in range(tasks)] for t in range(tasks)]

    def compute_output_shape(self, input_shapes):
        return list(input_shapes)

    def get_config(self):
        return {**super().get_config(), "own": self.own}
