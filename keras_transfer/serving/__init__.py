"""A local server for trying a model out, which speaks TF Serving's REST language."""
