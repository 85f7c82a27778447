"""What runs a frozen network over data: TensorFlow or OpenVINO, each a function of a stream of batches."""
