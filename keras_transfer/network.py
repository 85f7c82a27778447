"""The thin Functional model that `backbone` and `attach` return."""
import keras


@keras.saving.register_keras_serializable("keras_transfer")
class Network(keras.Model):
    """A Functional model."""
