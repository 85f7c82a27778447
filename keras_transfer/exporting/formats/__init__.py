"""One file a format: `NEEDS` (modules), `EXTRA` (that brings them), `write` and `runner`.

`write(model, source, folder, calibration)` takes the Keras model of numbers, the folder of its SavedModel, where to write
to, and `{input: array}` to quantize with or None; it returns the path of the file. `runner(path)` returns a function from
`{input: array (batch, ...)}` to `{output: array}` in the format's own runtime.
"""
