"""Several phases of training, whose features come out of one pass over the data."""
import contextlib

from ..network import flags_kept, own_state
from .splitting import split
from .training import is_exact, on_features


class Phases:
    """What the phases of training train on, each computed from the features of the next one where these serve both.

    Args:
        model: a Functional `keras.Model`.
        flags: functions that set its flags, one a phase.
        train, validation, store, only_exact, directory, verbose: as for `on_features`.
    """

    def __init__(self, model, flags, train, validation, **options):
        self.model, self.flags, self.whole, self.options = model, flags, (model, train, validation), options
        self.held = {}  # number of a phase -> what `on_features` gave for it

    def of(self, number):
        """Returns `(tail, train, validation)` of a phase whose flags are set, or None."""
        if number not in self.held:
            wide = None
            if self._serves_both(number):
                with self._in_next(number):
                    self.held[number + 1] = wide = on_features(*self.whole, **self.options)
            self.held[number] = on_features(*(wide or self.whole), **self.options)
        return self.held.pop(number)

    def _serves_both(self, number):
        """Whether all that the next phase's features need is frozen in this phase, too."""
        _, *sets = self.whole
        if number + 1 == len(self.flags) or not all(is_exact(part) for part in sets if part is not None):
            return False
        with self._in_next(number):
            prefix, _ = split(self.model)
        return prefix is not None and all(own_state(layer) is not True for layer in prefix.layers)

    @contextlib.contextmanager
    def _in_next(self, number):
        """Context: the flags are those of the next phase."""
        with flags_kept(self.model):
            self.flags[number + 1](self.model)
            yield
